package link

import (
	"fmt"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Own are the log's keys with the certificates in force behind the newest entry.
func (l *Linker) Own() []task.Key { return l.orders.own }

// key finds one of the log's keys, nil if there is none.
func (s *orders) key(is func(*task.Key) bool) *task.Key {
	for i := range s.own {
		if is(&s.own[i]) {
			return &s.own[i]
		}
	}
	return nil
}

// named finds one of the log's keys by its name.
func (s *orders) named(name string) *task.Key {
	return s.key(func(k *task.Key) bool { return k.Name == name })
}

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
	name := w.Order.Action.(*order.Cert).Key
	t.Intent.Cert.Order, t.Intent.Cert.Key = &x, name
	if err := l.orders.planned(x, b.Sign, name); err != nil {
		t.Evidence(finding.Cert, "entry %d: %v", t.Index, err)
	}
}

// planned compares a digest with that of the certification ordered.
func (s *orders) planned(x certificate.Certification, sign message.Digest, name string) error {
	k := s.named(name)
	if k == nil {
		return fmt.Errorf("it is about key %q, which this log does not have", name)
	}
	if k.Cert == nil {
		return nil // that was said where the log got the key
	}
	p, err := k.Cert.Plan(x)
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
	k := l.orders.named(in.Cert.Key)
	if b.Items[0].State != ledger.Signed || in.Cert.Order == nil || k == nil || k.Cert == nil {
		return
	}
	next, err := k.Cert.With(*in.Cert.Order, b.Items[0].Signature)
	if err != nil {
		t.Notes = append(t.Notes, finding.Of(finding.Evidence, finding.Signature, fmt.Sprintf("outcome %d: %v", t.Index, err), []uint64{in.Index, t.Index}))
		return
	}
	k.Cert = next
	if p := in.Cert.Order.Primary; p != nil {
		t.Add(finding.Info, finding.Bound, "key %q agreed with entry %d to be a subkey of the primary key %X", k.Name, t.Index, p.Fingerprint())
		return
	}
	switch {
	case !next.Revoked && next.Expires.IsZero():
		t.Add(finding.Info, finding.Renewed, "the certificate of key %q never expires from entry %d on", k.Name, t.Index)
	case !next.Revoked:
		t.Add(finding.Info, finding.Renewed, "the certificate of key %q expires at %s from entry %d on", k.Name, canon.Time(next.Expires), t.Index)
	case next.Code.Hard():
		t.Add(finding.Warning, finding.Revoked, "key %q was revoked with entry %d, code %d: no signature by it is trusted any more, whenever it was made", k.Name, t.Index, next.Code)
	default:
		t.Add(finding.Info, finding.Revoked, "key %q was revoked with entry %d, code %d: signatures from before stay good", k.Name, t.Index, next.Code)
	}
}

// usable finds the key of an intent and judges it by the certificate in force.
func (l *Linker) usable(t *task.Task, fingerprint [20]byte) {
	k := l.orders.key(func(k *task.Key) bool { return k.Fingerprint == fingerprint })
	if k == nil {
		return // there may be no genesis entry; else it is a finding when the intent is folded
	}
	now := *k
	t.Intent.Key = &now
	switch c := k.Cert; {
	case c == nil:
	case c.Revoked:
		t.Evidence(finding.KeyRevoked, "intent %d comes after key %q was revoked", t.Index, k.Name)
	case c.Usable(t.Header.Time) != nil:
		t.Evidence(finding.KeyExpired, "intent %d comes after key %q expired at %s", t.Index, k.Name, canon.Time(c.Expires))
	}
}

// recallCert takes up the certification of a cert entry that verifies, if the
// token signed it.
func (s *orders) recallCert(o incremental.Order) {
	if o.Kind != ledger.KindCert || o.Outcome == nil || o.Outcome.Job != message.JobID(*o.Hash) || len(o.Outcome.Items) != 1 {
		return
	}
	x, err := o.Order.Order.Certification(o.Time, *o.Hash)
	if err != nil || o.Outcome.Items[0].State != ledger.Signed {
		return
	}
	k := s.named(o.Order.Order.Action.(*order.Cert).Key)
	if k == nil || k.Cert == nil {
		return
	}
	if next, err := k.Cert.With(x, o.Outcome.Items[0].Signature); err == nil { // else it was told when it was audited
		k.Cert = next
	}
}
