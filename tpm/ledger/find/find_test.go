package find

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// log is entries of intents, each with its outcome behind it unless it has none, an hour apart.
type log struct {
	entries [][]byte
	jobs    []message.JobID
}

func (l *log) add(body any) uint64 {
	i := uint64(len(l.entries))
	l.entries = append(l.entries, must(ledger.Marshal(ledger.Header{Index: i, Time: noon.Add(time.Duration(i) * time.Hour)}, body)))
	return i
}

func digestOf(name string) message.Digest {
	sum := sha256.Sum256([]byte(name))
	return message.Digest{Alg: message.SHA256, Sum: sum[:]}
}

// intent adds one for files of these names, whose content is their name, and returns its index.
func (l *log) intent(class string, names ...string) uint64 {
	a := message.Approval{Origin: "touchmark.example/test", Class: class, Nonce: [16]byte{byte(len(l.jobs))}, NotAfter: noon}
	in := &ledger.Intent{Sequence: uint64(len(l.jobs) + 1)}
	for _, n := range names {
		a.Items = append(a.Items, message.Item{Format: "openpgp-binary", Digest: digestOf(n), Size: uint64(len(n)), Name: n})
		in.SignDigests = append(in.SignDigests, digestOf("signed "+n))
	}
	text := a.Marshal()
	in.Job, in.Approval, in.Submission = message.JobOf(text), must(message.SignNote(text)), must(message.SignNote([]byte("x\n")))
	l.jobs = append(l.jobs, in.Job)
	return l.add(in)
}

func (l *log) outcome(of uint64, job int, n int) {
	o := &ledger.Outcome{Intent: of, Job: l.jobs[job]}
	for range n {
		o.Items = append(o.Items, ledger.ItemResult{State: ledger.Denied})
	}
	l.add(o)
}

// sample is: 0 intent core.db, 1 outcome, 2 intent core.db+extra.db, 3 attest, 4 outcome of 2, 5 intent x.iso.
func sample() *log {
	l := &log{}
	l.outcome(l.intent("pacman-db", "core.db"), 0, 1)
	i := l.intent("pacman-db", "core.db", "extra.db")
	l.add(&ledger.Attest{Size: 2, Certify: quote.Attestation{Attest: []byte{1}, Sig: []byte{2}}})
	l.outcome(i, 1, 2)
	l.intent("iso", "x.iso")
	return l
}

// found are the indices of what a query finds.
func found(t *testing.T, l *log, q Query) (list []int) {
	t.Helper()
	f, err := New(q)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range l.entries {
		ok, err := f.Match(e)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			list = append(list, i)
		}
	}
	return list
}

func TestFind(t *testing.T) {
	l := sample()
	extra := hex.EncodeToString(digestOf("extra.db").Sum)
	for name, tc := range map[string]struct {
		q    Query
		want []int
	}{
		"everything":             {Query{}, []int{0, 1, 2, 3, 4, 5}},
		"a name":                 {Query{Name: "core.db"}, []int{0, 2}},
		"with outcomes":          {Query{Name: "core.db", Outcomes: true}, []int{0, 1, 2, 4}},
		"a pattern":              {Query{Name: "e*.db", Outcomes: true}, []int{2, 4}},
		"a pattern of none":      {Query{Name: "core"}, nil},
		"brackets":               {Query{Name: "[w-y].iso"}, []int{5}},
		"a digest":               {Query{Digest: extra}, []int{2}},
		"its beginning":          {Query{Digest: strings.ToUpper(extra[:8])}, []int{2}},
		"with its hash":          {Query{Digest: "sha256:" + extra, Outcomes: true}, []int{2, 4}},
		"of another hash":        {Query{Digest: "sha512:" + extra}, nil},
		"of another item":        {Query{Name: "core.db", Digest: extra}, nil},
		"a class":                {Query{Class: "iso"}, []int{5}},
		"a job":                  {Query{Job: l.jobs[1].String()[:10], Outcomes: true}, []int{2, 4}},
		"a kind":                 {Query{Kinds: []string{"attest"}}, []int{3}},
		"kinds":                  {Query{Kinds: []string{"attest", "outcome"}}, []int{1, 3, 4}},
		"outcomes of a file":     {Query{Name: "extra.db", Kinds: []string{"outcome"}, Outcomes: true}, []int{4}},
		"intents of a file":      {Query{Name: "extra.db", Kinds: []string{"intent"}, Outcomes: true}, []int{2}},
		"outcomes of none asked": {Query{Name: "extra.db", Kinds: []string{"outcome"}}, nil},
		"a time":                 {Query{From: "2026-03-02T13:00:00Z", To: "2026-03-02T15:00:00Z"}, []int{1, 2}},
		"a day":                  {Query{From: "2026-03-02", To: "2026-03-03"}, []int{0, 1, 2, 3, 4, 5}},
		"the next day":           {Query{From: "2026-03-03"}, nil},
		"an outcome out of it":   {Query{Name: "core.db", To: "2026-03-02T13:00:00Z", Outcomes: true}, []int{0}},
	} {
		if got := found(t, l, tc.q); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestBadQueries(t *testing.T) {
	for name, tc := range map[string]struct {
		q    Query
		want string
	}{
		"short":     {Query{Digest: "1234567"}, "8 or more hexadecimal"},
		"no hex":    {Query{Digest: "sha256:12345678x"}, "8 or more hexadecimal"},
		"no digits": {Query{Digest: "sha256:"}, "digits are missing"},
		"hash":      {Query{Digest: "md5:12345678"}, "the hashes are"},
		"job":       {Query{Job: "12 45678"}, "8 or more hexadecimal"},
		"pattern":   {Query{Name: "[x"}, "it is no pattern"},
		"kind":      {Query{Kinds: []string{"intents"}}, "there is no kind \"intents\", these are: genesis"},
		"from":      {Query{From: "yesterday"}, "is not a time like"},
		"to":        {Query{To: "2026-02-30"}, "is not a time like"},
	} {
		if _, err := New(tc.q); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	f := must(New(Query{}))
	if _, err := f.Match([]byte("rubbish")); err == nil {
		t.Error("rubbish is an entry")
	}
}

// TestShortcut: what is not taken apart because of its bytes would not have been found either.
func TestShortcut(t *testing.T) {
	l := sample()
	rapid.Check(t, func(r *rapid.T) {
		some := func(what string, of ...string) string { return rapid.SampledFrom(append(of, "")).Draw(r, what) }
		q := Query{Name: some("name", "core.db", "*", "e*", "[w-y].iso", "x.iso"), Class: some("class", "iso", "pacman-db", "pacman"),
			Digest: some("digest", hex.EncodeToString(digestOf("core.db").Sum)[:9], "00000000"), Job: some("job", l.jobs[0].String(), l.jobs[2].String()[:8]),
			From: some("from", "2026-03-02T14:00:00Z"), To: some("to", "2026-03-02T15:00:00Z"), Outcomes: rapid.Bool().Draw(r, "outcomes")}
		if k := some("kind", "intent", "outcome", "attest"); k != "" {
			q.Kinds = []string{k}
		}
		long := must(New(q))
		var want []int
		for i, e := range l.entries {
			h, body, err := ledger.Parse(e)
			if err != nil {
				r.Fatal(err)
			}
			if long.Holds(h, body) {
				want = append(want, i)
			}
		}
		if got := found(t, l, q); !slices.Equal(got, want) {
			r.Fatalf("%+v: %v, want %v", q, got, want)
		}
	})
}

// BenchmarkMiss is an entry that is not looked for.
func BenchmarkMiss(b *testing.B) {
	l := &log{}
	l.intent("pacman-db", "core.db")
	f := must(New(Query{Name: "extra.db", Outcomes: true}))
	for b.Loop() {
		if ok, err := f.Match(l.entries[0]); ok || err != nil {
			b.Fatal(fmt.Errorf("%v, %v", ok, err))
		}
	}
}
