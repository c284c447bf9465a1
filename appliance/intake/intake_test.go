package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/policy"
	"touchmark/appliance/policy/policytest"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

const origin = "touchmark.example/intake"

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// log is one of made-up roots.
type log struct {
	size   uint64
	broken error
}

func (l log) Size() uint64 { return l.size }

func (l log) Root(size uint64) ([32]byte, error) {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, size)), l.broken
}

// desk is a policy with everything that a forge needs.
type desk struct {
	*intaketest.Forge
	policy *policy.Policy
	log    log
}

func newDesk(t testing.TB, more ...string) *desk {
	t.Helper()
	d := &desk{Forge: intaketest.New(origin), log: log{size: 900}}
	admin, adminKey := intaketest.NewKey("admin")
	host, hostKey := intaketest.NewKey("repo1")
	text := policytest.Policy{Origin: origin, Admin: adminKey, Host: hostKey}.Text()
	p, err := policy.Open(intaketest.Sign([]byte(text+d.Tables("packages")+strings.Join(more, "")), admin))
	if err != nil {
		t.Fatal(err)
	}
	d.policy, d.Host = p, host
	d.Now = func() time.Time { return noon }
	d.Head = func() (uint64, [32]byte) {
		root, _ := d.log.Root(d.log.size)
		return d.log.size, root
	}
	return d
}

// ask does with a submission what the appliance does.
func (d *desk) ask(m *message.Submit) error {
	req, err := d.policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		return err
	}
	_, _, err = Admit(d.policy, d.log, policy.NewHistory(), req, m.Contents, noon)
	return err
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var r *policy.Refusal
	switch {
	case !errors.As(err, &r) || r.Code != code:
		t.Errorf("%v, want %s", err, code)
	case r.Text == "" || len(r.Text) > message.MaxHuman || strings.ContainsAny(r.Text, "\n\x1b\x00"):
		t.Errorf("poor refusal %q", r)
	}
}

func TestHonestRequestsAreAdmitted(t *testing.T) {
	d := newDesk(t)
	r := d.Honest("one", "two")
	if err := d.ask(r.Submit()); err != nil {
		t.Error(err)
	}
	r = d.Honest("one")
	r.Approval.Class = intaketest.Approved
	for _, signers := range [][]note.Signer{{d.Alice, d.Bob}, {d.Bob, d.AliceLaptop}} {
		r.Approvers = signers
		if err := d.ask(r.Submit()); err != nil {
			t.Error(err)
		}
	}
	d.log.size = 5000
	r = d.Honest("one")
	r.Submission.HeadSize -= MaxHeadAge
	r.Submission.HeadRoot, _ = d.log.Root(r.Submission.HeadSize)
	if err := d.ask(r.Submit()); err != nil {
		t.Error(err)
	}
}

func TestEveryHostileRequestIsRefusedByName(t *testing.T) {
	d := newDesk(t)
	for _, c := range intaketest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			m, _ := c.Make(d.Forge)
			wantCode(t, d.ask(m), c.Code)
		})
	}
}

// TestOrderOfChecks: of a request with everything wrong the faults are named in
// the order of docs/spec/message.md, "Submit", as one after the other is mended.
func TestOrderOfChecks(t *testing.T) {
	d := newDesk(t)
	stranger, _ := intaketest.NewKey("repo9")
	r := d.Honest("one", "two", "three", "four", "five")
	all := &r.Approval
	r.Hosts, r.Approvers = []note.Signer{stranger}, []note.Signer{stranger}
	r.Submission.Approval, r.FixedApproval = message.JobID{}, true
	all.Origin, all.Class, all.NotAfter = "other.example/log", "nothing", noon.Add(-time.Hour)
	all.Items[0].Format, all.Items[0].Name = "sshsig", "x.iso"
	all.Items[1].Size = 2 << 20
	r.Submission.HostTime = noon.Add(-time.Hour)
	r.Submission.HeadSize++
	full := r.Contents
	r.Contents = r.Contents[:1]
	for _, step := range []struct {
		code string
		mend func()
	}{
		{message.CodeUnknownHost, func() { r.Hosts = []note.Signer{d.Host, d.Other} }},
		{message.CodeSurplusSignature, func() { r.Hosts = []note.Signer{d.Other} }},
		{message.CodeUnknownApprover, func() { r.Approvers = []note.Signer{d.Alice, d.AliceLaptop} }},
		{message.CodeSamePerson, func() { r.Approvers = []note.Signer{d.Alice} }},
		{message.CodeWrongApproval, func() { r.FixedApproval = false }},
		{message.CodeWrongOrigin, func() { all.Origin = d.Origin }},
		{message.CodeClockSkew, func() { r.Submission.HostTime = noon.Add(time.Hour) }},
		{message.CodeUnknownClass, func() { all.Class = intaketest.Approved }},
		{message.CodeHostForbidden, func() { r.Hosts = []note.Signer{d.Host} }},
		{message.CodeBatchTooLarge, func() { all.Items, full = all.Items[:2], full[:2] }},
		{message.CodeApprovalsMissing, func() { r.Approvers = []note.Signer{d.Alice, d.Bob} }},
		{message.CodeFormatForbidden, func() { all.Items[0].Format = all.Items[1].Format }},
		{message.CodeNameForbidden, func() { all.Items[0].Name = "x.db" }},
		{message.CodeTooLarge, func() { all.Items[1].Size = 4 }},
		{message.CodeClockSkew, func() { r.Submission.HostTime = noon }},
		{message.CodeExpired, func() { all.NotAfter = noon.Add(1000 * time.Hour) }},
		{message.CodeNotAfterTooFar, func() { all.NotAfter = noon.Add(time.Hour) }},
		{message.CodeUnknownHead, func() { r.Submission.HeadSize--; r.Submission.HeadRoot[0] ^= 1 }},
		{message.CodeForkedHead, func() { r.Submission.HeadRoot[0] ^= 1 }},
		{message.CodeBadState, func() { r.Contents = full }},
		{message.CodeStateMismatch, func() { all.Items[1].Size = 3 }},
	} {
		wantCode(t, d.ask(r.Submit()), step.code)
		step.mend()
	}
	if err := d.ask(r.Submit()); err != nil {
		t.Error(err)
	}
}

// TestWhatADocumentSaysIsShown: a file may come as a document, and then has a
// meaning; without it it has none.
func TestWhatADocumentSaysIsShown(t *testing.T) {
	d := newDesk(t)
	r := d.Honest(intaketest.Release, intaketest.Release)
	r.Contents[0] = message.Content{Document: []byte(intaketest.Release)}
	m := r.Submit()
	req, err := d.policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		t.Fatal(err)
	}
	_, items, err := Admit(d.policy, d.log, policy.NewHistory(), req, m.Contents, noon)
	if err != nil || len(items) != 2 || items[0].State != items[1].State || items[1].Meaning != nil {
		t.Fatalf("%+v, %v", items, err)
	}
	if text := strings.Join(items[0].Meaning, "\n"); !strings.Contains(text, "Suite: stable") {
		t.Errorf("it means %q", text)
	}
}

// statements is a policy whose key signs documents only.
const statements = `
[[key]]
name = "statements"
slot = "9a"
family = "dsse"
algorithm = "p256"
[[class]]
name = "statements"
keys = ["statements"]
hosts = ["repo1"]
names = ["*"]
formats = ["dsse-in-toto"]
max_size = "1MiB"
rates = ["20/1h"]
approvals = 0
batch = 4
`

// TestADocumentIsDemanded: where the format is over a document, no state will do,
// and every document is one in its one form, whatever the digest says.
func TestADocumentIsDemanded(t *testing.T) {
	d := newDesk(t, statements)
	const good = `{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://x.example/v1","subject":[{"digest":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"name":"a"}]}`
	pae := func(payload string) string {
		return fmt.Sprintf("DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload)
	}
	for name, c := range map[string]struct{ code, doc string }{
		"good":                   {"", pae(good)},
		"a key twice":            {message.CodeBadDocument, pae(strings.Replace(good, `"predicate":`, `"predicateType":"https://evil.example/v1","predicate":`, 1))},
		"bytes behind it":        {message.CodeBadDocument, pae(good + "{}")},
		"another length":         {message.CodeBadDocument, pae(good) + " "},
		"another payload type":   {message.CodeBadDocument, strings.Replace(pae(good), "in-toto+json", "in-tota+json", 1)},
		"the payload alone":      {message.CodeBadDocument, good},
		"a key in another case":  {message.CodeBadDocument, pae(strings.Replace(good, `"predicate":{}`, `"predicate":{},"Subject":[]`, 1))},
		"not UTF-8":              {message.CodeBadDocument, pae(strings.Replace(good, `"a"`, "\"\xff\"", 1))},
		"deeper than it may be":  {message.CodeBadDocument, pae(strings.Replace(good, `{}`, strings.Repeat("[", 5000)+strings.Repeat("]", 5000), 1))},
		"half of a surrogate":    {message.CodeBadDocument, pae(strings.Replace(good, `"a"`, `"\ud800"`, 1))},
		"no subject":             {message.CodeBadDocument, pae(`{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://x.example/v1","subject":[]}`)},
		"a digest that is none":  {message.CodeBadDocument, pae(strings.Replace(good, "e3b0", "e3B0", 1))},
		"a statement of nothing": {message.CodeBadDocument, pae("{}")},
	} {
		r := d.Honest(c.doc)
		r.Approval.Class, r.Approval.Items[0].Format = "statements", "dsse-in-toto"
		wantCode(t, d.ask(r.Submit()), message.CodeDocumentMissing)
		r.Contents[0] = message.Content{Document: []byte(c.doc)}
		if err := d.ask(r.Submit()); c.code != "" {
			t.Run(name, func(t *testing.T) { wantCode(t, err, c.code) })
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStaleHead(t *testing.T) {
	d := newDesk(t)
	d.log.size = 5000
	r := d.Honest("one")
	r.Submission.HeadSize -= MaxHeadAge + 1
	r.Submission.HeadRoot, _ = d.log.Root(r.Submission.HeadSize)
	wantCode(t, d.ask(r.Submit()), message.CodeStaleHead)
}

func TestALogThatCannotBeReadIsTheBoardsFault(t *testing.T) {
	d := newDesk(t)
	d.log.broken = errors.New("disk")
	wantCode(t, d.ask(d.Honest("one").Submit()), message.CodeInternal)
}

func TestOpenCancel(t *testing.T) {
	d := newDesk(t)
	job := message.JobID{1}
	good := d.Cancel(d.Host, job, noon)
	if c, host, err := OpenCancel(d.policy, good, noon.Add(intaketest.MaxSkew)); err != nil || host != "repo1" || c.Job != job {
		t.Errorf("%+v by %s, %v", c, host, err)
	}
	stranger := intaketest.Impostor("repo1")
	elsewhere := message.Cancel{Origin: "other.example/log", Job: job, HostTime: noon}
	hello := message.Hello{Origin: origin, HostTime: noon}
	for _, c := range []struct {
		name, code string
		note       []byte
	}{
		{"by a stranger", message.CodeUnknownHost, d.Cancel(stranger, job, noon)},
		{"by an approver", message.CodeUnknownHost, d.Cancel(d.Alice, job, noon)},
		{"by nobody", message.CodeBadSignature, intaketest.Sign((&message.Cancel{Origin: origin, Job: job, HostTime: noon}).Marshal())},
		{"by two hosts", message.CodeSurplusSignature, intaketest.Sign((&message.Cancel{Origin: origin, Job: job, HostTime: noon}).Marshal(), d.Host, d.Other)},
		{"for another appliance", message.CodeWrongOrigin, intaketest.Sign(elsewhere.Marshal(), d.Host)},
		{"a hello", message.CodeBadMessage, intaketest.Sign(hello.Marshal(), d.Host)},
		{"too old", message.CodeClockSkew, d.Cancel(d.Host, job, noon.Add(-intaketest.MaxSkew-time.Second))},
		{"of the future", message.CodeClockSkew, d.Cancel(d.Host, job, noon.Add(intaketest.MaxSkew+time.Second))},
		{"no note", message.CodeBadMessage, []byte("touchmark/cancel/v1\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := OpenCancel(d.policy, c.note, noon)
			wantCode(t, err, c.code)
		})
	}
}

func request(host string, job message.JobID, at time.Time) *policy.Request {
	return &policy.Request{Host: host, Job: job, Submission: message.Submission{HostTime: at}}
}

// TestEndedOfOthersStay: a host that has no end of cancellations has none
// forgotten but its own.
func TestEndedOfOthersStay(t *testing.T) {
	var e Ended
	e.Note("quiet", message.JobID{1}, noon, policy.Refusal{Code: message.CodeDenied, Text: "no"})
	for i := range 2 * MaxEnded {
		e.Note("loud", message.JobID(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))), noon.Add(time.Minute), policy.Refusal{Code: message.CodeCancelled})
	}
	if len(e.ends) != MaxEnded {
		t.Errorf("%d remembered", len(e.ends))
	}
	wantCode(t, e.Answer(request("quiet", message.JobID{1}, noon)), message.CodeDenied)
}

func TestEnded(t *testing.T) {
	var e Ended
	job, denied := message.JobID{1}, policy.Refusal{Code: message.CodeDenied, Text: "no"}
	if err := e.Answer(request("repo1", job, noon)); err != nil {
		t.Fatal(err)
	}
	e.Note("repo1", job, noon, denied)
	e.Note("repo1", job, noon.Add(-time.Minute), policy.Refusal{Code: message.CodeCancelled}) // older: changes nothing
	wantCode(t, e.Answer(request("repo1", job, noon)), message.CodeDenied)
	wantCode(t, e.Answer(request("repo1", job, noon.Add(-time.Hour))), message.CodeDenied)
	for name, r := range map[string]*policy.Request{
		"asked for later": request("repo1", job, noon.Add(time.Second)),
		"another host":    request("repo2", job, noon),
		"another job":     request("repo1", message.JobID{2}, noon),
	} {
		if err := e.Answer(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.Forget(noon)
	wantCode(t, e.Answer(request("repo1", job, noon)), message.CodeDenied)
	e.Forget(noon.Add(time.Second))
	if err := e.Answer(request("repo1", job, noon)); err != nil {
		t.Error(err)
	}
}

// Whatever is noted, what is remembered is bounded, and the newest of it stays.
func TestPropertyEndedIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Ended
		n := rapid.IntRange(1, 3*MaxEnded).Draw(t, "jobs")
		for i := range n {
			var job message.JobID
			binary.BigEndian.PutUint64(job[:], uint64(i))
			e.Note("repo1", job, noon.Add(time.Duration(i)*time.Second), policy.Refusal{Code: message.CodeDenied, Text: "no"})
		}
		if len(e.ends) != min(n, MaxEnded) {
			t.Fatalf("%d remembered of %d", len(e.ends), n)
		}
		var last message.JobID
		binary.BigEndian.PutUint64(last[:], uint64(n-1))
		if e.Answer(request("repo1", last, noon)) == nil {
			t.Fatal("the newest is forgotten")
		}
	})
}

func TestTally(t *testing.T) {
	var y Tally
	if n, by := y.Sum(); n != 0 || by != nil {
		t.Errorf("%d, %v", n, by)
	}
	for _, code := range []string{message.CodeDenied, message.CodeBusy, message.CodeDenied} {
		y.Add(code)
	}
	n, by := y.Sum()
	if n != 3 || len(by) != 2 || by[0] != (ledger.Refused{Code: message.CodeBusy, Count: 1}) || by[1] != (ledger.Refused{Code: message.CodeDenied, Count: 2}) {
		t.Errorf("%d, %v", n, by)
	}
	y.Reset()
	if n, by := y.Sum(); n != 0 || by != nil {
		t.Errorf("%d, %v", n, by)
	}
}

// However often it is asked, a ration gives its burst and then one an interval;
// a clock that goes back gives nothing.
func TestPropertyRation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		burst := rapid.IntRange(1, 9).Draw(t, "burst")
		every := time.Duration(rapid.IntRange(1, 20).Draw(t, "every")) * time.Second
		r, now, taken := NewRation(burst, every, noon), noon, 0
		latest := now
		for range rapid.IntRange(1, 200).Draw(t, "tries") {
			now = now.Add(time.Duration(rapid.IntRange(-3000, 5000).Draw(t, "ms")) * time.Millisecond)
			if now.After(latest) {
				latest = now
			}
			wait := r.Take(now)
			if wait == 0 {
				taken++
			} else if wait > every+time.Millisecond {
				t.Fatalf("wait %s for one in %s", wait, every)
			}
			if most := burst + int(latest.Sub(noon)/every) + 1; taken > most {
				t.Fatalf("%d taken in %s, at most %d", taken, latest.Sub(noon), most)
			}
		}
	})
}

// A class that demands documents takes nothing by its state, and no document that
// nothing can be shown of.
func TestAClassThatDemandsDocuments(t *testing.T) {
	d := newDesk(t, `[[class]]
name = "suite"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.db"]
formats = ["openpgp-binary"]
max_size = "1MiB"
rates = ["20/1h"]
approvals = 0
batch = 4
documents = "demanded"
`)
	ask := func(contents ...message.Content) error {
		r := d.Honest(intaketest.Release)
		r.Approval.Class = "suite"
		if len(contents) > 0 {
			r.Contents = contents
		}
		return d.ask(r.Submit())
	}
	wantCode(t, ask(), message.CodeDocumentMissing)
	if err := ask(message.Content{Document: []byte(intaketest.Release)}); err != nil {
		t.Error(err)
	}
	wantCode(t, ask(message.Content{Document: []byte(intaketest.Release + "\n")}), message.CodeStateMismatch)
	r := d.Honest("no Release file")
	r.Approval.Class, r.Contents = "suite", []message.Content{{Document: []byte("no Release file")}}
	wantCode(t, d.ask(r.Submit()), message.CodeBadDocument)
	r.Approval.Items[0].Size = message.MaxDocument + 1
	wantCode(t, d.ask(r.Submit()), message.CodeDocumentMissing)
}

// An announcement of rounds is opened by the same rules.
func TestOpenRounds(t *testing.T) {
	d := newDesk(t)
	m := message.Rounds{Origin: origin, HostTime: noon, More: 3}
	if r, host, err := OpenRounds(d.policy, intaketest.Sign(m.Marshal(), d.Host), noon); err != nil || host != "repo1" || r.More != 3 {
		t.Errorf("%+v, %s, %v", r, host, err)
	}
	cancel := d.Cancel(d.Host, message.JobID{}, noon)
	old := m
	old.HostTime = noon.Add(-intaketest.MaxSkew - time.Second)
	elsewhere := m
	elsewhere.Origin = "other.example/log"
	for code, note := range map[string][]byte{
		message.CodeUnknownHost:  intaketest.Sign(m.Marshal(), d.Alice),
		message.CodeBadSignature: intaketest.Sign(m.Marshal()),
		message.CodeBadMessage:   cancel,
		message.CodeClockSkew:    intaketest.Sign(old.Marshal(), d.Host),
		message.CodeWrongOrigin:  intaketest.Sign(elsewhere.Marshal(), d.Host),
	} {
		_, _, err := OpenRounds(d.policy, note, noon)
		wantCode(t, err, code)
	}
}

// A job that the board itself cannot prepare is no fault of the host's message.
func TestTheBoardsOwnFailureIsNamed(t *testing.T) {
	if r := RefusalOf(os.ErrClosed); r.Code != message.CodeInternal {
		t.Errorf("%+v", r)
	}
	if r := RefusalOf(Refuse(message.CodeExpired, "x")); r.Code != message.CodeExpired {
		t.Errorf("%+v", r)
	}
}
