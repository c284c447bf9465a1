package policy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"touchmark/hostlink/message"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// job is a request in the making; change it, then ask.
type job struct {
	approval   message.Approval
	submission message.Submission
	approvers  []string
	hosts      []string
}

func newJob(class string, names ...string) *job {
	j := &job{
		approval: message.Approval{Origin: "touchmark.example/distribution", Class: class, NotAfter: noon.Add(time.Hour)},
		hosts:    []string{"repo1"},
	}
	for _, n := range names {
		sum := sha256.Sum256([]byte(n))
		j.approval.Items = append(j.approval.Items, message.Item{
			Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: sum[:]}, Size: 1000, Name: n,
		})
	}
	j.submission.HostTime = noon
	return j
}

func (j *job) notes(t testing.TB) (approval, submission []byte) {
	t.Helper()
	text := j.approval.Marshal()
	if j.submission.Approval == (message.JobID{}) {
		j.submission.Approval = message.JobOf(text)
	}
	return signedBy(t, text, j.approvers), signedBy(t, j.submission.Marshal(), j.hosts)
}

func signedBy(t testing.TB, text []byte, names []string) []byte {
	t.Helper()
	var signers []note.Signer
	for _, n := range names {
		signers = append(signers, signer(n))
	}
	n, err := message.SignNote(text, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantRefusal(t *testing.T, name, code string, err error) {
	t.Helper()
	var r *Refusal
	switch {
	case !errors.As(err, &r) || r.Code != code:
		t.Errorf("%s: got %v, want %s", name, err, code)
	case r.Text == "" || len(r.Text) > message.MaxHuman || strings.ContainsAny(r.Text, "\n\x1b\x00") || !message.ValidToken(r.Code):
		t.Errorf("%s: poor refusal %q", name, r)
	}
}

func distribution(t testing.TB) *Policy { return mustPolicy(t, readExample(t, "distribution.toml")) }

func TestAuthenticate(t *testing.T) {
	p := distribution(t)
	j := newJob("iso", "archlinux-2026.11.01-x86_64.iso")
	j.approvers, j.hosts = []string{"bob", "alice-laptop"}, []string{"repo2"}
	a, s := j.notes(t)
	r, err := p.Authenticate(a, s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Host != "repo2" || !slices.Equal(r.Persons, []string{"alice", "bob"}) || r.Job != message.JobOf(j.approval.Marshal()) ||
		!bytes.Equal(r.ApprovalText, j.approval.Marshal()) || r.Approval.Class != "iso" || !r.Submission.HostTime.Equal(noon) {
		t.Errorf("%+v", r)
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	p := distribution(t)
	other := newJob("pacman-db", "other.db.tar.gz")
	cases := []struct {
		name, code string
		change     func(*job)
	}{
		{"stranger", message.CodeUnknownHost, func(j *job) { j.hosts = []string{"stranger"} }},
		{"administrator", message.CodeUnknownHost, func(j *job) { j.hosts = []string{"admin1"} }},
		{"approver submits", message.CodeUnknownHost, func(j *job) { j.hosts = []string{"alice"} }},
		{"nobody", message.CodeBadSignature, func(j *job) { j.hosts = nil }},
		{"two hosts", message.CodeSurplusSignature, func(j *job) { j.hosts = []string{"repo1", "repo2"} }},
		{"host and stranger", message.CodeUnknownHost, func(j *job) { j.hosts = []string{"repo1", "stranger"} }},
		{"host approves", message.CodeUnknownApprover, func(j *job) { j.approvers = []string{"repo1"} }},
		{"stranger approves too", message.CodeUnknownApprover, func(j *job) { j.approvers = []string{"alice", "stranger"} }},
		{"one person twice", message.CodeSamePerson, func(j *job) { j.approvers = []string{"alice", "alice-laptop"} }},
		{"submission of another job", message.CodeWrongApproval, func(j *job) { j.submission.Approval = message.JobOf(other.approval.Marshal()) }},
		{"other appliance", message.CodeWrongOrigin, func(j *job) { j.approval.Origin = "touchmark.example/demo" }},
		{"no items", message.CodeBadMessage, func(j *job) { j.approval.Items = nil }},
		{"forbidden name", message.CodeBadMessage, func(j *job) { j.approval.Items[0].Name = "../x.db.tar.gz" }},
	}
	for _, c := range cases {
		j := newJob("pacman-db", "core.db.tar.gz")
		c.change(j)
		a, s := j.notes(t)
		r, err := p.Authenticate(a, s)
		if r != nil {
			t.Errorf("%s: a request came back: %+v", c.name, r)
		}
		wantRefusal(t, c.name, c.code, err)
	}
}

func TestAuthenticateRefusesHostileBytes(t *testing.T) {
	p := distribution(t)
	a, s := newJob("pacman-db", "core.db.tar.gz").notes(t)
	huge := bytes.Repeat([]byte("a\n"), message.MaxNote)
	for name, c := range map[string]struct {
		a, s []byte
		code string
	}{
		"nothing":          {nil, nil, message.CodeBadMessage},
		"no approval":      {nil, s, message.CodeBadMessage},
		"swapped":          {s, a, message.CodeBadSignature},
		"approval twice":   {a, a, message.CodeBadSignature},
		"submission twice": {s, s, message.CodeUnknownApprover},
		"huge approval":    {huge, s, message.CodeBadMessage},
		"huge submission":  {a, huge, message.CodeBadMessage},
		"changed by a bit": {a, bytes.Replace(s, []byte("head 0"), []byte("head 1"), 1), message.CodeBadSignature},
	} {
		_, err := p.Authenticate(c.a, c.s)
		wantRefusal(t, name, c.code, err)
	}
	for i := range s {
		b := bytes.Clone(s)
		b[i] ^= 0x01
		if _, err := p.Authenticate(a, b); err == nil {
			t.Errorf("accepted a submission with byte %d changed", i)
		}
	}
}

func TestAuthenticateHost(t *testing.T) {
	p := distribution(t)
	hello := (&message.Hello{Origin: p.Origin, HostTime: noon}).Marshal()
	text, host, err := p.AuthenticateHost(signedBy(t, hello, []string{"repo2"}))
	if err != nil || host != "repo2" || !bytes.Equal(text, hello) {
		t.Errorf("%q %q %v", text, host, err)
	}
	_, _, err = p.AuthenticateHost(signedBy(t, hello, []string{"bob"}))
	wantRefusal(t, "approver says hello", message.CodeUnknownHost, err)
	wantRefusal(t, "origin", message.CodeWrongOrigin, p.CheckOrigin("touchmark.example/other"))
}

func authenticated(t testing.TB, p *Policy, j *job) *Request {
	t.Helper()
	r, err := p.Authenticate(j.notes(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAdmit(t *testing.T) {
	p := distribution(t)
	h := NewHistory()
	h.Add("pacman-db", noon.Add(-30*time.Minute), 3)
	g, err := p.Admit(authenticated(t, p, newJob("pacman-db", "core.db.tar.gz", "core.files.tar.gz")), h, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := Grant{Class: "pacman-db", Keys: []Key{{"packages", "9c", "openpgp-data", "p256"}}, Remaining: 55, RateText: "55 of 60/1h left"}
	if !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v, want %+v", *g, want)
	}
	iso := newJob("iso", "archlinux-2026.11.01-x86_64.iso")
	iso.hosts, iso.approvers = []string{"repo2"}, []string{"alice", "bob"}
	g, err = p.Admit(authenticated(t, p, iso), h, noon)
	if err != nil || g.Keys[0].Name != "media" || g.Remaining != 1 {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestAdmitRefuses(t *testing.T) {
	p := distribution(t)
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.db.tar.gz", i)
	}
	cases := []struct {
		name, code string
		change     func(*job, *Request)
	}{
		{"unknown class", message.CodeUnknownClass, func(_ *job, r *Request) { r.Approval.Class = "pacman-bd" }},
		{"other host", message.CodeHostForbidden, func(_ *job, r *Request) { r.Host = "repo3" }},
		{"no host", message.CodeHostForbidden, func(_ *job, r *Request) { r.Host = "" }},
		{"batch", message.CodeBatchTooLarge, func(_ *job, r *Request) { r.Approval.Items = newJob("", many...).approval.Items }},
		{"no items", message.CodeBadMessage, func(_ *job, r *Request) { r.Approval.Items = nil }},
		{"format", message.CodeFormatForbidden, func(_ *job, r *Request) { r.Approval.Items[1].Format = "openpgp-text" }},
		{"name", message.CodeNameForbidden, func(_ *job, r *Request) { r.Approval.Items[1].Name = "core.iso" }},
		{"name in a folder", message.CodeNameForbidden, func(_ *job, r *Request) { r.Approval.Items[1].Name = "x/core.db.tar.gz" }},
		{"invalid name", message.CodeNameForbidden, func(_ *job, r *Request) { r.Approval.Items[1].Name = "-x.db.tar.gz" }},
		{"size", message.CodeTooLarge, func(_ *job, r *Request) { r.Approval.Items[1].Size = 1<<30 + 1 }},
		{"approvals", message.CodeApprovalsMissing, func(_ *job, r *Request) {
			r.Approval.Class = "package"
			r.Approval.Items[0].Name, r.Approval.Items[1].Name = "a-any.pkg.tar.zst", "b-any.pkg.tar.zst"
		}},
		{"expired", message.CodeExpired, func(_ *job, r *Request) { r.Approval.NotAfter = noon.Add(-time.Second) }},
		{"good for too long", message.CodeNotAfterTooFar, func(_ *job, r *Request) { r.Approval.NotAfter = noon.Add(7*24*time.Hour + time.Second) }},
		{"host is fast", message.CodeClockSkew, func(_ *job, r *Request) { r.Submission.HostTime = noon.Add(5*time.Minute + time.Second) }},
	}
	for _, c := range cases {
		j := newJob("pacman-db", "core.db.tar.gz", "core.files.tar.gz")
		r := authenticated(t, p, j)
		c.change(j, r)
		g, err := p.Admit(r, NewHistory(), noon)
		if g != nil {
			t.Errorf("%s: granted %+v", c.name, g)
		}
		wantRefusal(t, c.name, c.code, err)
	}
}

// What is larger than a document cannot have come as one: the auditor sees that too.
func TestAdmitDocuments(t *testing.T) {
	text := readExample(t, "distribution.toml")
	for value, code := range map[string]string{"": "", "documents = \"demanded\"\n": message.CodeDocumentMissing} {
		p := mustPolicy(t, strings.Replace(text, "batch = 16\n", "batch = 16\n"+value, 1))
		for _, size := range []uint64{message.MaxDocument, message.MaxDocument + 1} {
			j := newJob("pacman-db", "core.db.tar.gz")
			j.approval.Items[0].Size = size
			_, err := p.Admit(authenticated(t, p, j), NewHistory(), noon)
			if code == "" || size == message.MaxDocument {
				if err != nil {
					t.Errorf("%q, %d bytes: %v", value, size, err)
				}
				continue
			}
			wantRefusal(t, "too large for a document", code, err)
		}
	}
}

// The bounds themselves are allowed, and fractions of a second never decide,
// so that a replay with a log entry's time gives the same answer.
// TestAdmitByHash: only keys that sign over every item's hash are granted, and
// without one nothing is.
func TestAdmitByHash(t *testing.T) {
	text := strings.NewReplacer(`algorithm = "p256"`, `algorithm = "p384"`, `slot = "82"`, `slot = "83"`).Replace(string(readExample(t, "arch.toml")))
	text = strings.Replace(text, "[[class]]", "[[key]]\nname = \"second\"\nslot = \"82\"\nfamily = \"openpgp-data\"\nalgorithm = \"rsa2048\"\n\n[[class]]", 1)
	one := mustPolicy(t, text)
	both := mustPolicy(t, strings.Replace(text, `keys = ["packages"]`, `keys = ["packages", "second"]`, 1))
	for _, c := range []struct {
		algs []message.Alg
		one  string
		both []string
	}{
		{[]message.Alg{message.SHA256}, message.CodeHashForbidden, []string{"second"}},
		{[]message.Alg{message.SHA384}, "", []string{"packages", "second"}},
		{[]message.Alg{message.SHA512, message.SHA256}, message.CodeHashForbidden, []string{"second"}},
	} {
		j := newJob("pacman-db", "a.db.tar.gz", "b.db.tar.gz")
		j.approval.Origin, j.approval.Items = one.Origin, j.approval.Items[:len(c.algs)]
		for i, alg := range c.algs {
			j.approval.Items[i].Digest = message.Digest{Alg: alg, Sum: make([]byte, alg.Size())}
		}
		a, s := j.notes(t)
		_, err := one.Admit(authentic(t, one, a, s), NewHistory(), noon)
		if c.one != "" {
			wantRefusal(t, fmt.Sprint(c.algs), c.one, err)
		} else if err != nil {
			t.Errorf("%v: %v", c.algs, err)
		}
		g, err := both.Admit(authentic(t, both, a, s), NewHistory(), noon)
		if err != nil || !slices.Equal(names(g.Keys, func(k Key) string { return k.Name }), c.both) {
			t.Errorf("%v: %+v, %v", c.algs, g, err)
		}
	}
}

func authentic(t *testing.T, p *Policy, approval, submission []byte) *Request {
	t.Helper()
	r, err := p.Authenticate(approval, submission)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAdmitAtTheBounds(t *testing.T) {
	p := distribution(t)
	for name, change := range map[string]func(*Request){
		"not-after is now":   func(r *Request) { r.Approval.NotAfter = noon },
		"longest validity":   func(r *Request) { r.Approval.NotAfter = noon.Add(7 * 24 * time.Hour) },
		"slowest host":       func(r *Request) { r.Submission.HostTime = noon.Add(-5 * time.Minute) },
		"fastest host":       func(r *Request) { r.Submission.HostTime = noon.Add(5 * time.Minute) },
		"largest size":       func(r *Request) { r.Approval.Items[0].Size = 1 << 30 },
		"nothing but a name": func(r *Request) { r.Approval.Items[0].Size = 0 },
	} {
		r := authenticated(t, p, newJob("pacman-db", "core.db.tar.gz"))
		change(r)
		for _, now := range []time.Time{noon, noon.Add(999 * time.Millisecond)} {
			if _, err := p.Admit(r, NewHistory(), now); err != nil {
				t.Errorf("%s at %v: %v", name, now, err)
			}
		}
	}
}

func TestRates(t *testing.T) {
	p := distribution(t)
	admit := func(h *History, now time.Time, names ...string) (*Grant, error) {
		r := authenticated(t, p, newJob("pacman-db", names...))
		r.Submission.HostTime, r.Approval.NotAfter = now, now
		return p.Admit(r, h, now)
	}
	h := NewHistory()
	for i := range 59 {
		h.Add("pacman-db", noon.Add(time.Duration(i)*time.Second), 1)
	}
	now := noon.Add(10 * time.Minute)
	if g, err := admit(h, now, "a.db.tar.gz"); err != nil || g.Remaining != 0 || g.RateText != "0 of 60/1h left" {
		t.Errorf("the 60th: %+v, %v", g, err)
	}
	_, err := admit(h, now, "a.db.tar.gz", "b.db.tar.gz")
	wantRefusal(t, "61 within the hour", message.CodeRateExceeded, err)
	if !strings.HasSuffix(err.Error(), "try again at 2026-11-21T13:00:00Z") {
		t.Errorf("advice: %v", err)
	}
	// What it advised is true, and not a second earlier.
	if _, err := admit(h, noon.Add(time.Hour), "a.db.tar.gz", "b.db.tar.gz"); err != nil {
		t.Errorf("at the advised time: %v", err)
	}
	_, err = admit(h, noon.Add(time.Hour-time.Second), "a.db.tar.gz", "b.db.tar.gz")
	wantRefusal(t, "a second before", message.CodeRateExceeded, err)
	// Another class has its own count.
	r := authenticated(t, p, newJob("iso", "archlinux-2026.11.01-x86_64.iso"))
	r.Host, r.Persons = "repo2", []string{"alice", "bob"}
	if _, err := p.Admit(r, h, noon); err != nil {
		t.Errorf("another class: %v", err)
	}
}

func TestRateThatNeverFits(t *testing.T) {
	text := strings.Replace(readExample(t, "arch.toml"), "60/1h", "1/1h", 1)
	p := mustPolicy(t, text)
	j := newJob("pacman-db", "a.db.tar.gz", "b.db.tar.gz")
	j.approval.Origin = p.Origin
	_, err := p.Admit(authenticated(t, p, j), NewHistory(), noon)
	wantRefusal(t, "two where one is allowed", message.CodeRateExceeded, err)
	if !strings.Contains(err.Error(), "split the batch") {
		t.Errorf("advice: %v", err)
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory()
	h.Add("a", noon, 2)
	h.Add("a", noon.Add(time.Hour), 3)
	h.Add("a", noon.Add(30*time.Minute), 4) // out of order
	h.Add("b", noon, 100)
	h.Add("a", noon, 0)
	h.Add("a", noon, -5)
	for _, c := range []struct {
		since time.Duration
		want  int
	}{{-time.Second, 9}, {0, 7}, {29 * time.Minute, 7}, {30 * time.Minute, 3}, {time.Hour, 0}, {2 * time.Hour, 0}} {
		if got := h.Count("a", noon.Add(c.since)); got != c.want {
			t.Errorf("since %v: %d, want %d", c.since, got, c.want)
		}
	}
	h.Forget(noon.Add(30 * time.Minute))
	if got := h.Count("a", noon.Add(time.Minute)); got != 7 {
		t.Errorf("after forgetting: %d", got)
	}
	if h.Count("b", noon.Add(-time.Hour)) != 0 || h.Count("never", noon) != 0 {
		t.Error("forgotten events count")
	}
}

// Any order of adding, with forgetting, decides like a plain list: a request
// fits a rate or does not, and is told the same time to come again. Below the
// bound of what is kept, counts are the same too.
func TestPropertyHistory(t *testing.T) {
	const most = 20
	rapid.Check(t, func(t *rapid.T) {
		h, plain := NewHistory(), plainHistory{}
		h.most = most
		forgotten := -1
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			at := rapid.IntRange(0, 50).Draw(t, "at")
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				forgotten = max(forgotten, at)
				h.Forget(second(at))
				continue
			}
			if at < forgotten {
				continue // nobody adds what counts no more
			}
			n := rapid.IntRange(1, 5).Draw(t, "items")
			h.Add("c", second(at), n)
			plain = append(plain, plainEvent{at, n})
			plain.compare(t, h, forgotten, most)
		}
	})
}

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

type plainEvent struct{ at, items int }

type plainHistory []plainEvent

func (p plainHistory) count(since int) (n int) {
	for _, e := range p {
		if e.at > since {
			n += e.items
		}
	}
	return n
}

// compare asks both for what they would decide about one rate.
func (p plainHistory) compare(t *rapid.T, h *History, forgotten, most int) {
	now, window := rapid.IntRange(0, 60).Draw(t, "now"), rapid.IntRange(1, 60).Draw(t, "window")
	since := max(now-window, forgotten-1)
	rate := Rate{Count: rapid.IntRange(1, most).Draw(t, "count"), Window: time.Duration(now-since) * time.Second, Text: "r"}
	asked := rapid.IntRange(1, 6).Draw(t, "asked")
	want, got := p.count(since), h.Count("c", second(since))
	if got != want && (got < most || want < most) {
		t.Fatalf("%d items since %d, want %d", got, since, want)
	}
	if (got+asked > rate.Count) != (want+asked > rate.Count) {
		t.Fatalf("%d items more: %d and %d are used of %d", asked, got, want, rate.Count)
	}
	if want+asked <= rate.Count || asked > rate.Count {
		return
	}
	at := since + 1 // the first second whose leaving makes room
	for p.count(at)+asked > rate.Count {
		at++
	}
	if text := h.freeAgain("c", rate, asked); text != "try again at "+clock(second(at).Add(rate.Window)) {
		t.Fatalf("%s, want %s", text, clock(second(at).Add(rate.Window)))
	}
}

// However much was signed, no more is kept than decides.
func TestHistoryIsBounded(t *testing.T) {
	h := NewHistory()
	h.most = 1000
	for i := range 100_000 {
		h.Add("c", second(i), 1+i%3)
	}
	if n := len(h.classes["c"].events); n > 1000 {
		t.Errorf("%d events", n)
	}
	if n := h.Count("c", noon); n < 1000 || n > 1003 {
		t.Errorf("%d items", n)
	}
}

// A rate is never exceeded in any window, whatever is asked, and the advised
// time is the first at which the request passes.
func TestPropertyRatesHold(t *testing.T) {
	p := mustPolicy(t, strings.Replace(readExample(t, "arch.toml"), `"60/1h", "500/1d"`, `"5/10s", "8/30s"`, 1))
	c, ok := p.Class("pacman-db")
	if !ok {
		t.Fatal("no class")
	}
	rapid.Check(t, func(t *rapid.T) {
		h := NewHistory()
		var log []int // the second of each granted item
		now := 0
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			now += rapid.IntRange(0, 6).Draw(t, "wait")
			items := rapid.IntRange(1, 5).Draw(t, "items")
			at := noon.Add(time.Duration(now) * time.Second)
			if _, _, err := c.remaining(h, at, items); err != nil {
				continue
			}
			h.Add(c.Name, at, items)
			for range items {
				log = append(log, now)
			}
		}
		for _, r := range c.Rates {
			for i := range log {
				if i >= r.Count && log[i]-log[i-r.Count] < int(r.Window.Seconds()) {
					t.Fatalf("more than %s: %v", r.Text, log)
				}
			}
		}
	})
}

// BenchmarkAdmitMillion: admission against a history of 10^6 items.
func BenchmarkAdmitMillion(b *testing.B) {
	p := distribution(b)
	h := NewHistory()
	for i := range 1_000_000 {
		h.Add("pacman-db", noon.Add(time.Duration(i-2_000_000)*time.Minute), 1)
	}
	r := authenticated(b, p, newJob("pacman-db", "core.db.tar.gz"))
	for b.Loop() {
		if _, err := p.Admit(r, h, noon); err != nil {
			b.Fatal(err)
		}
	}
}

// A job may wait longer than clocks may differ: only its arrival is held
// against the host's clock from below.
func TestFresh(t *testing.T) {
	p := &Policy{MaxSkew: 5 * time.Minute}
	for _, c := range []struct {
		late time.Duration
		ok   bool
	}{{0, true}, {5 * time.Minute, true}, {5*time.Minute + time.Second, false}, {1000 * time.Hour, false}, {-time.Hour, true}} {
		err := p.Fresh(&Request{Submission: message.Submission{HostTime: noon.Add(-c.late)}}, noon)
		var r *Refusal
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &r) || r.Code != message.CodeClockSkew) {
			t.Errorf("%v late: %v", c.late, err)
		}
	}
}
