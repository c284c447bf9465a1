package replay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/policy"
	"touchmark/appliance/policy/policytest"
	"touchmark/hostlink/message"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
)

const origin = "touchmark.example/replay"

var (
	noon        = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	_, adminKey = intaketest.NewKey("admin")
	host, hosts = intaketest.NewKey("repo1")
)

func withRate(t testing.TB, rate string, batch int) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(policytest.Policy{Origin: origin, Admin: adminKey, Host: hosts, Classes: []policytest.Class{
		{Name: "db", Names: "*.db", MaxSize: "1MiB", Rate: rate, Batch: batch},
		{Name: "other", Names: "*.iso", MaxSize: "1MiB", Rate: "1/1d", Batch: 1},
	}}.Text()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// log is a log in the making: nobody looks at its genesis here.
type log struct {
	t       testing.TB
	entries [][]byte
	now     time.Time
	jobs    uint64
}

func (l *log) add(body any) uint64 {
	l.t.Helper()
	i := uint64(len(l.entries))
	e, err := ledger.Marshal(ledger.Header{Index: i, Time: l.now}, body)
	if err != nil {
		l.t.Fatal(err)
	}
	l.entries = append(l.entries, e)
	return i
}

// intent asks for files of a class, signed by a key.
func (l *log) intent(class string, files int, by note.Signer) (uint64, message.JobID) {
	l.t.Helper()
	l.jobs++
	a := message.Approval{Origin: origin, Class: class, Nonce: [16]byte{byte(l.jobs), byte(l.jobs >> 8)}, NotAfter: l.now.Add(time.Minute)}
	in := &ledger.Intent{Sequence: l.jobs}
	for i := range files {
		name := fmt.Sprintf("%d.%s", i, class)
		sum := sha256.Sum256([]byte(name))
		d := message.Digest{Alg: message.SHA256, Sum: sum[:]}
		a.Items = append(a.Items, message.Item{Format: "openpgp-binary", Digest: d, Size: 10, Name: name})
		in.SignDigests = append(in.SignDigests, d)
	}
	in.Job = message.JobOf(a.Marshal())
	s := message.Submission{Approval: in.Job, HeadSize: 1, HostTime: l.now}
	in.Approval, in.Submission = intaketest.Sign(a.Marshal()), intaketest.Sign(s.Marshal(), by)
	return l.add(in), in.Job
}

func (l *log) outcome(intent uint64, job message.JobID, states ...ledger.State) {
	l.t.Helper()
	o := &ledger.Outcome{Intent: intent, Job: job}
	for _, s := range states {
		it := ledger.ItemResult{State: s}
		if s == ledger.Signed {
			it.Signature = []byte("x")
		}
		o.Items = append(o.Items, it)
	}
	l.add(o)
}

func (l *log) replay(p *policy.Policy) *Report {
	l.t.Helper()
	r := New(p)
	for _, e := range l.entries {
		if err := r.Add(e); err != nil {
			l.t.Fatal(err)
		}
	}
	return r.Report()
}

func TestRefused(t *testing.T) {
	stranger, _ := intaketest.NewKey("stranger")
	l := &log{t: t, now: noon}
	at, job := l.intent("db", 3, host)
	l.outcome(at, job, ledger.Signed, ledger.Denied, ledger.Unknown)
	l.now = noon.Add(10 * time.Minute)
	l.intent("db", 2, host) // has no outcome: it counts
	l.now = noon.Add(20 * time.Minute)
	at, job = l.intent("db", 2, host)
	l.outcome(at, job, ledger.Signed, ledger.Signed)
	l.intent("iso", 1, host)
	l.intent("db", 1, stranger)
	l.now = noon.Add(61 * time.Minute)
	l.intent("db", 2, host)

	r := l.replay(withRate(t, "5/1h", 4))
	var got []string
	for _, f := range r.First {
		got = append(got, fmt.Sprint(f.Entry, f.Class, f.Code))
	}
	want := []string{"3db" + message.CodeRateExceeded, "5iso" + message.CodeUnknownClass, "6db" + message.CodeUnknownHost}
	if !slices.Equal(got, want) || r.Jobs != 6 || r.Admitted != 3 || r.Refused != 3 || r.Codes[message.CodeRateExceeded] != 1 {
		t.Errorf("%v, want %v: %+v", got, want, r)
	}
	if w := r.Windows[0]; w.Most != 7 || w.Allow != 5 || w.Rate != "5/1h" || w.Entry != 6 {
		t.Errorf("fullest window: %+v", w)
	}
	if w := r.Windows[1]; w.Most != 0 || w.End != "" {
		t.Errorf("a class that nobody used: %+v", w)
	}
	if one := (&Report{Jobs: 1, Entries: 1}).Lines()[0]; !strings.HasPrefix(one, "0 of 1 job in 1 entry would") {
		t.Errorf("%q", one)
	}
	text := strings.Join(r.Lines(), "\n")
	for _, part := range []string{"3 of 6 jobs", "1 refused: rate-exceeded", "entry 3, 2026-11-21T12:20:00Z, class db, 0.db 1.db: rate-exceeded", "db 5/1h: 7 of 5, up to entry 6", "other 1/1d: 0 of 1"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

func TestRefusedAreBounded(t *testing.T) {
	l := &log{t: t, now: noon}
	for range MaxRefused + 7 {
		l.intent("iso", 1, host)
	}
	r := l.replay(withRate(t, "5/1h", 4))
	if r.Refused != MaxRefused+7 || len(r.First) != MaxRefused || !strings.Contains(strings.Join(r.Lines(), "\n"), "and 7 more") {
		t.Errorf("%d refused, %d named", r.Refused, len(r.First))
	}
}

func TestHostileEntries(t *testing.T) {
	l := &log{t: t, now: noon}
	l.intent("db", 1, host)
	for name, e := range map[string][]byte{"no entry": []byte("x"), "another index": append([]byte(nil), l.entries[0]...)} {
		r := New(withRate(t, "5/1h", 4))
		if name == "another index" {
			if err := r.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Add(e); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A real log under its own policy, under a stricter one, and under another's.
func TestBigLog(t *testing.T) {
	var entries [][]byte
	if _, err := biglog.Generate(300, func(a biglog.Append) error { entries = append(entries, a.Entries...); return nil }); err != nil {
		t.Fatal(err)
	}
	_, body, err := ledger.Parse(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	own, err := policy.Open(body.(*ledger.Genesis).Policy)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, entries: entries}
	r := l.replay(own)
	if r.Jobs < 20 || r.Refused != 0 || r.Admitted != r.Jobs {
		t.Errorf("its own policy: %+v", r)
	}
	strict, err := policy.Parse([]byte(strings.Replace(string(own.Text), "batch = 16", "batch = 8", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if r := l.replay(strict); r.Codes[message.CodeBatchTooLarge] == 0 || r.Codes[message.CodeBatchTooLarge] != r.Refused || r.Admitted == 0 {
		t.Errorf("a smaller batch: %+v", r)
	}
	if err := New(withRate(t, "5/1h", 4)).Add(entries[0]); !errors.Is(err, ErrOtherLog) {
		t.Errorf("a policy of another log: %v", err)
	}
}

// past is a job of a random history.
type past struct {
	at     time.Time
	items  int
	counts int
}

// However jobs come and end, exactly those are refused that a plain count over
// all admitted jobs before refuses.
func TestRatesAgreeWithPlainCounting(t *testing.T) {
	p := withRate(t, "9/1h", 4)
	ends := []ledger.State{ledger.Signed, ledger.Withheld, ledger.Unknown, ledger.Denied, ledger.TimedOut}
	rapid.Check(t, func(rt *rapid.T) {
		l := &log{t: t, now: noon}
		var admitted []past
		var want []uint64
		for range rapid.IntRange(1, 12).Draw(rt, "jobs") {
			l.now = l.now.Add(time.Duration(rapid.IntRange(0, 2400).Draw(rt, "later")) * time.Second)
			j := past{at: l.now, items: rapid.IntRange(1, 4).Draw(rt, "items")}
			used := 0
			for _, o := range admitted {
				if o.at.After(j.at.Add(-time.Hour)) {
					used += o.counts
				}
			}
			at, id := l.intent("db", j.items, host)
			j.counts = j.items
			if rapid.Bool().Draw(rt, "ends") {
				states := rapid.SliceOfN(rapid.SampledFrom(ends), j.items, j.items).Draw(rt, "states")
				l.outcome(at, id, states...)
				j.counts = len(slices.DeleteFunc(slices.Clone(states), func(s ledger.State) bool { return !s.Counts() }))
			}
			if used+j.items > 9 {
				want = append(want, at)
			} else {
				admitted = append(admitted, j)
			}
		}
		var got []uint64
		for _, f := range l.replay(p).First {
			got = append(got, f.Entry)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("refused %v, want %v", got, want)
		}
	})
}
