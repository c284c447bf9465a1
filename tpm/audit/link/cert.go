package link

import (
	"fmt"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Certificate is the OpenPGP certificate in force behind the newest entry, nil
// if that of the genesis entry does not parse.
func (l *Linker) Certificate() *sigformat.Certificate { return l.orders.cert }

// cert checks what a cert entry has the token sign, and awaits the outcome.
func (l *Linker) cert(t *task.Task, b *ledger.Order, w *task.Order) {
	t.Intent = &task.Intent{Index: t.Index, Header: t.Header, Digests: []message.Digest{b.Sign}, Last: true, Cert: new(task.Cert)}
	l.awaitOutcome(t.Intent)
	if w.Order == nil {
		return
	}
	t.Intent.Job = message.JobID(*w.Hash)
	x, err := w.Order.Certification(t.Header.Time, *w.Hash)
	if err != nil {
		return // an order of another kind is a finding already
	}
	t.Intent.Cert.Order = &x
	if err := l.orders.planned(x, b.Sign, l.keys.Name, w.Order.Action.(*order.Cert).Key); err != nil {
		t.Evidence(finding.Cert, "entry %d: %v", t.Index, err)
	}
}

// planned compares a digest with that of the certification ordered.
func (s *orders) planned(x sigformat.Certification, sign message.Digest, name, key string) error {
	if key != name {
		return fmt.Errorf("it is about key %q, this log is of key %q", key, name)
	}
	if s.cert == nil {
		return nil // the genesis entry's does not parse
	}
	p, err := s.cert.Plan(x)
	if err != nil {
		return err
	}
	if want := (message.Digest{Alg: p.Alg, Sum: p.Digest}); want.String() != sign.String() {
		return fmt.Errorf("what the token shall sign is not what was ordered: %s, want %s", sign, want)
	}
	return nil
}

// certified takes the outcome of a cert entry.
func (l *Linker) certified(t *task.Task, b *ledger.Outcome) {
	in := t.Intent
	if !in.Fits(b) {
		t.Evidence(finding.Outcome, "outcome %d: job or number of items are not those of cert entry %d", t.Index, in.Index)
		return
	}
	if b.Items[0].State != ledger.Signed || in.Cert.Order == nil || l.orders.cert == nil {
		return
	}
	next, err := l.orders.cert.With(*in.Cert.Order, b.Items[0].Signature)
	if err != nil {
		t.Notes = append(t.Notes, finding.Of(finding.Evidence, finding.Signature, fmt.Sprintf("outcome %d: %v", t.Index, err), []uint64{in.Index, t.Index}))
		return
	}
	l.orders.cert = next
	switch {
	case !next.Revoked && next.Expires.IsZero():
		t.Add(finding.Info, finding.Renewed, "the key's certificate never expires from entry %d on", t.Index)
	case !next.Revoked:
		t.Add(finding.Info, finding.Renewed, "the key's certificate expires at %s from entry %d on", canon.Time(next.Expires), t.Index)
	case next.Code.Hard():
		t.Add(finding.Warning, finding.Revoked, "the key was revoked with entry %d, code %d: no signature by it is trusted any more, whenever it was made", t.Index, next.Code)
	default:
		t.Add(finding.Info, finding.Revoked, "the key was revoked with entry %d, code %d: signatures from before stay good", t.Index, next.Code)
	}
}

// usable judges an intent by the certificate in force.
func (l *Linker) usable(t *task.Task) {
	c := l.orders.cert
	switch {
	case c == nil:
	case c.Revoked:
		t.Evidence(finding.KeyRevoked, "intent %d comes after the key was revoked", t.Index)
	case c.Usable(t.Header.Time) != nil:
		t.Evidence(finding.KeyExpired, "intent %d comes after the key expired at %s", t.Index, canon.Time(c.Expires))
	}
}

// recallCert takes up the certification of a cert entry that verifies, if the
// token signed it.
func (s *orders) recallCert(o incremental.Order) {
	if o.Kind != ledger.KindCert || s.cert == nil || o.Outcome == nil || o.Outcome.Job != message.JobID(*o.Hash) || len(o.Outcome.Items) != 1 {
		return
	}
	x, err := o.Order.Order.Certification(o.Time, *o.Hash)
	if err != nil || o.Outcome.Items[0].State != ledger.Signed {
		return
	}
	if next, err := s.cert.With(x, o.Outcome.Items[0].Signature); err == nil { // else it was told when it was audited
		s.cert = next
	}
}
