package station

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// errNextSecond is a renewal in the second of the newest self-signature: it has to
// wait for the next one.
var errNextSecond = errors.New("the certificate was signed this second")

// planCert plans what a cert order has the token sign at a time.
func (s *Station) planCert(d *decree, now time.Time) (*signing.Plan, error) {
	a := d.order.Action.(*order.Cert)
	k := s.past.Named(a.Key)
	if k == nil {
		return nil, intake.Refuse(message.CodeBadMessage, "the order is about key %q, which this log does not have", a.Key)
	}
	x, err := d.order.Certification(now, d.hash)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	p, err := k.Cert.Plan(x)
	if errors.Is(err, certificate.ErrTooEarly) {
		x.Created = now.Add(time.Second)
		if _, later := k.Cert.Plan(x); later == nil {
			return nil, errNextSecond
		}
	}
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, certificate.ErrRevoked):
		return nil, intake.Refuse(message.CodeKeyRevoked, "%v", err)
	}
	return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
}

// prepareCert fixes everything that the ceremony of a cert order commits to: from
// here on it is a job of one item, which administrators ordered.
func (s *Station) prepareCert(d *decree, entry *ledger.Order) error {
	now := s.clock.Now()
	plan, err := s.planCert(d, now)
	if err != nil {
		return err
	}
	entry.Sign = message.Digest{Alg: plan.Alg, Sum: plan.Digest}
	entries, err := s.chain.Entries(now, entry)
	if err != nil {
		return err
	}
	p, err := s.chain.Planned(entries)
	if err != nil {
		return err
	}
	d.job = &job{id: d.hash, order: d, key: s.past.Named(d.order.Action.(*order.Cert).Key), machine: ceremony.New(1), plans: []*signing.Plan{plan}, intent: entries[0], commit: s.chain.Commit(*p)}
	return nil
}

// beginCert begins the ceremony of a cert order that was armed.
func (s *Station) beginCert(d *decree) {
	s.alarm = ""
	s.job, d.state = d.job, decreeCommitting
	s.step(d.job, ceremony.Arm{})
}

// certified is the end of it: the outcome is in the log.
func (s *Station) certified(j *job, end ledger.ItemResult) {
	d := j.order
	s.job, d.job = nil, nil
	switch taken := s.chain.Size >= j.commit.Plan.Size; {
	case taken:
		s.decree = nil
		s.certInForce(d, end, j.machine.Denied())
	case s.halted != nil:
		s.decree = nil
		s.refuse(d.hash, message.CodeHalted, haltedText(s.halted))
		s.rest("")
	case end.State == ledger.NotStarted && end.Reason == reasonNotMirrored:
		s.push()
		d.state = decreeMirroring
		s.unmirrored(d)
	case end.State == ledger.Denied:
		s.push()
		s.dropDecree(message.CodeDenied, "the operator denied the order")
	default:
		s.push()
		s.dropDecree(message.CodeBusy, "the TPM did not take the order, bring it again")
	}
}

// reasonNotMirrored is the ceremony's word for an entry that no host held in time.
const reasonNotMirrored = "not-mirrored"

// certInForce goes on after a cert order that HEAD took, whatever the token made
// of it. What the commit lacks, a start makes good.
func (s *Station) certInForce(d *decree, end ledger.ItemResult, denied bool) {
	if err := s.reload(); err != nil {
		s.haltOrder(d, err)
		return
	}
	if s.halted != nil {
		s.rest("")
		return
	}
	if s.chain.Dirty {
		s.startUp(s.cfg.TPMRetry)
	}
	if end.State == ledger.TimedOut {
		s.alarm = touchAlarm
	}
	if end.State == ledger.Signed {
		a := d.order.Action.(*order.Cert)
		s.announce(d, "order-done", certDone(a, s.past.Named(a.Key)))
		return
	}
	s.announce(d, "order-dropped", certUndone(end, denied))
}

// certDone says what the certificate is now.
func certDone(a *order.Cert, k *past.Key) string {
	switch {
	case a.Primary != nil:
		return fmt.Sprintf("Key %s agreed to be a subkey of %X. Its owner makes the rest, with the binding request from the log.", k.Name, a.Primary.Fingerprint())
	case k.Cert.Revoked:
		return "Key " + k.Name + " is revoked."
	case k.Cert.Expires.IsZero():
		return "The certificate of key " + k.Name + " is renewed: it never expires."
	}
	return "The certificate of key " + k.Name + " is renewed: it expires at " + stamp(k.Cert.Expires) + "."
}

// certUndone says why it is what it was.
func certUndone(end ledger.ItemResult, denied bool) string {
	text := ""
	if end.State != ledger.TimedOut { // of which the alarm tells
		text = strings.Replace(summary([]ledger.ItemResult{end}, denied)+" ", "Have it asked for again. ", "", 1)
	}
	return text + "The certificate is as it was, and the order is used up: to ask the token again takes another one."
}
