package intake

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// FuzzSubmit is a hostile host that has keys: it has any text signed as
// approval and submission, by any of the keys there are, adds what it likes to
// the notes and sends any states and documents. Whatever is admitted must be what an honest
// reader of its bytes finds in them; whatever is not is a named refusal.
func FuzzSubmit(f *testing.F) {
	d := newDesk(f)
	signers := []note.Signer{d.Host, d.Other, d.Alice, d.AliceLaptop, d.Bob}
	by := func(mask uint8) (out []note.Signer) {
		for i, s := range signers {
			if mask>>i&1 == 1 {
				out = append(out, s)
			}
		}
		return out
	}
	r := d.Honest("one", "two")
	r.Submission.Approval = r.Job()
	f.Add(r.Approval.Marshal(), r.Submission.Marshal(), uint8(0), uint8(1), []byte(nil), r.Contents[0].State, r.Contents[1].State)
	f.Add(r.Approval.Marshal(), r.Submission.Marshal(), uint8(0b10100), uint8(1), []byte("\u2014 x AAAAAAA=\n"), r.Contents[0].State, r.Contents[1].State)
	f.Add(r.Submission.Marshal(), r.Approval.Marshal(), uint8(0b11111), uint8(3), []byte(nil), []byte{}, r.Contents[0].State)
	doc := d.Honest(intaketest.Release, "two")
	doc.Submission.Approval = doc.Job()
	f.Add(doc.Approval.Marshal(), doc.Submission.Marshal(), uint8(0), uint8(0x81), []byte(nil), []byte(intaketest.Release), doc.Contents[1].State)
	f.Fuzz(func(t *testing.T, approval, submission []byte, approvers, hosts uint8, trailer, first, second []byte) {
		m := &message.Submit{Contents: []message.Content{{State: first}, {State: second}}}
		if hosts&0x80 != 0 { // of which there are no keys
			m.Contents[0] = message.Content{Document: append([]byte{}, first...)}
		}
		var err error
		if m.Approval, err = message.SignNote(approval, by(approvers)...); err != nil {
			m.Approval = approval
		}
		if m.Submission, err = message.SignNote(submission, by(hosts)...); err != nil {
			m.Submission = submission
		}
		m.Approval = append(m.Approval, trailer...)
		req, err := d.policy.Authenticate(m.Approval, m.Submission)
		if err == nil {
			checkRequest(t, d, m, req)
			var items []Artifact
			_, items, err = Admit(d.policy, d.log, policy.NewHistory(), req, m.Contents, noon)
			checkArtifacts(t, m, req, items)
		}
		var refusal *policy.Refusal
		if err != nil && (!errors.As(err, &refusal) || !message.ValidToken(refusal.Code)) {
			t.Fatalf("no refusal by name: %v", err)
		}
	})
}

// checkRequest reads both notes again, with nothing but the keys.
func checkRequest(t *testing.T, d *desk, m *message.Submit, req *policy.Request) {
	t.Helper()
	text, by, err := message.OpenNote(m.Approval, d.policy.ApproverVerifiers())
	if err != nil || !bytes.Equal(text, req.Approval.Marshal()) || message.JobOf(text) != req.Job || len(by) != len(req.Persons) {
		t.Fatalf("approval %q by %v, taken for %+v, %v", text, by, req, err)
	}
	text, by, err = message.OpenNote(m.Submission, d.policy.HostVerifiers())
	if err != nil || len(by) != 1 || d.policy.Hosts[by[0]].Name != req.Host || !bytes.Equal(text, req.Submission.Marshal()) || req.Submission.Approval != req.Job {
		t.Fatalf("submission %q by %v, taken for %+v, %v", text, by, req, err)
	}
}

// checkArtifacts holds what is admitted against the approval: it is those bytes,
// and a meaning is of a document that came whole.
func checkArtifacts(t *testing.T, m *message.Submit, req *policy.Request, items []Artifact) {
	t.Helper()
	for i, a := range items {
		it := req.Approval.Items[i]
		if a.State.Count() != it.Size || !it.Digest.Equal(message.Digest{Alg: it.Digest.Alg, Sum: a.State.Digest()}) {
			t.Fatalf("item %d is not what was approved", i)
		}
		doc := m.Contents[i].Document
		h := it.Digest.Alg.Hash().New()
		h.Write(doc)
		if (a.Meaning != nil) != (doc != nil) || doc != nil && !bytes.Equal(h.Sum(nil), it.Digest.Sum) {
			t.Fatalf("item %d, document %q, means %q", i, doc, a.Meaning)
		}
	}
}

// FuzzCancel: whatever text a host signs, what passes for a cancellation is one.
func FuzzCancel(f *testing.F) {
	d := newDesk(f)
	f.Add((&message.Cancel{Origin: origin, Job: message.JobID{1}, HostTime: noon}).Marshal(), []byte(nil))
	f.Add((&message.Hello{Origin: origin, HostTime: noon}).Marshal(), []byte("\n"))
	f.Fuzz(func(t *testing.T, text, trailer []byte) {
		n, err := message.SignNote(text, d.Host)
		if err != nil {
			n = text
		}
		c, host, err := OpenCancel(d.policy, append(n, trailer...), noon)
		if err == nil && (host != "repo1" || !bytes.Equal(c.Marshal(), text)) {
			t.Fatalf("%q is a cancellation %+v by %s", text, c, host)
		}
	})
}
