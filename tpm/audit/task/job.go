package task

import (
	"fmt"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

func (t *Task) authenticate(b *ledger.Intent) {
	if t.Keys == nil || t.Keys.Policy == nil {
		return
	}
	r, err := t.Keys.Policy.Authenticate(b.Approval, b.Submission)
	if err != nil {
		t.Evidence(finding.Unauthentic, "intent %d: %v", t.Index, err)
		return
	}
	t.Request = r
	if r.Job != b.Job {
		t.Evidence(finding.Job, "intent %d names job %s, its approval is job %s", t.Index, b.Job, r.Job)
	}
	t.digests(b, r.Approval.Items)
}

func (t *Task) digests(b *ledger.Intent, items []message.Item) {
	if len(items) != len(b.SignDigests) {
		t.Evidence(finding.Digests, "intent %d: %d sign lines for %d items", t.Index, len(b.SignDigests), len(items))
		return
	}
	for i, it := range items {
		if _, known := sigformat.FormatOf(it.Format); !known || it.Digest.Alg != b.SignDigests[i].Alg {
			t.Evidence(finding.Digests, "intent %d item %d: %s over %s is not signed as %s", t.Index, i+1, it.Format, it.Digest.Alg, b.SignDigests[i].Alg)
		}
	}
}

// signatures verifies every signature of an outcome against the digest that
// its intent announced.
func (t *Task) signatures(b *ledger.Outcome) {
	in := t.Intent
	if in == nil || in.Cert != nil || t.Keys == nil || in.Key == nil || in.Key.Public == nil {
		return
	}
	if !in.Fits(b) {
		t.Evidence(finding.Outcome, "outcome %d: job or number of items are not those of intent %d", t.Index, in.Index)
		return
	}
	for i, it := range b.Items {
		if it.State != ledger.Signed {
			continue
		}
		if err := t.signature(it.Signature, in, in.Digests[i]); err != nil {
			t.Notes = append(t.Notes, finding.Of(finding.Evidence, finding.Signature,
				fmt.Sprintf("outcome %d item %d: %v", t.Index, i+1, err), []uint64{in.Index, t.Index}))
		}
	}
}

func (t *Task) signature(sig []byte, in *Intent, digest message.Digest) error {
	s, err := in.Key.Public.VerifyDigest(sig, digest.Sum)
	if err != nil {
		return err
	}
	switch {
	case s.Alg != digest.Alg:
		return fmt.Errorf("signed with %s, announced was %s", s.Alg, digest.Alg)
	case !s.Created.Equal(in.Header.Time):
		return fmt.Errorf("creation time %s is not the intent's %s", canon.Time(s.Created), canon.Time(in.Header.Time))
	case s.Origin != t.Keys.Trust.Origin || s.Job != in.Job:
		return fmt.Errorf("its notation names log %q and job %s", s.Origin, s.Job)
	}
	return nil
}
