package task

import (
	"fmt"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
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
	cert := t.Keys.Pinned.Find(b.Key)
	if cert == nil {
		return // a finding of its own
	}
	for i, it := range items {
		if err := announced(cert, it, b.SignDigests[i]); err != nil {
			t.Evidence(finding.Digests, "intent %d item %d: %v", t.Index, i+1, err)
		}
	}
}

// announced checks a sign line as far as the item tells what it must be.
func announced(cert *certificate.Certificate, it message.Item, sign message.Digest) error {
	f, known := sigformat.FormatOf(it.Format)
	if !known {
		return fmt.Errorf("there is no format %s", it.Format)
	}
	if err := cert.Fits(f.Family); err != nil {
		return err
	}
	return f.CheckSign(cert.Key, it.Digest, sign)
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
		if err := t.signature(it.Signature, in, i); err != nil {
			t.Notes = append(t.Notes, finding.Of(finding.Evidence, finding.Signature,
				fmt.Sprintf("outcome %d item %d: %v", t.Index, i+1, err), []uint64{in.Index, t.Index}))
		}
	}
}

func (t *Task) signature(sig []byte, in *Intent, i int) error {
	f, file := sigformat.OpenPGPBinary, message.Digest{Alg: in.Digests[i].Alg}
	if in.Items != nil {
		f, _ = sigformat.FormatOf(in.Items[i].Format)
		file = in.Items[i].Digest
	}
	return f.Check(in.Key.Public, file, in.Digests[i], sig, in.Header.Time, t.Keys.Trust.Origin, in.Job)
}
