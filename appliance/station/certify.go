package station

import (
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/meaning"
	"touchmark/appliance/station/perform"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// prepareCert fixes everything that the ceremony of a cert order commits to: from
// here on it is a job of one item, which administrators ordered.
func (s *Station) prepareCert(d *errand, entry *ledger.Order) error {
	now := s.clock.Now()
	plan, err := d.Signing(s.past, now)
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
	d.job = &job{id: d.Hash, order: d, ceremony: perform.New(s.perform, perform.Subject{ID: d.Hash, Items: 1, Ordered: true, Alone: d.alone})}
	d.job.ceremony.Fixed = perform.Fixed{
		Key: s.past.Named(d.Order.Action.(*order.Cert).Key), Plans: []*signing.Plan{plan}, Intent: entries[0], Commit: s.chain.Commit(*p),
	}
	return nil
}

// beginCert begins the ceremony of a cert order that was armed.
func (s *Station) beginCert(d *errand) {
	s.alarm = ""
	s.job, d.state = d.job, decreeCommitting
	d.job.ceremony.Arm()
}

// certified is the end of it: the outcome is in the log.
func (s *Station) certified(j *job, end ledger.ItemResult) {
	d := j.order
	s.job, d.job = nil, nil
	switch {
	case j.ceremony.Committed():
		s.decree = nil
		s.certInForce(d, end, j.ceremony.Machine().Denied())
	case s.halted != nil:
		s.decree = nil
		s.refuse(d.Hash, message.CodeHalted, haltedText(s.halted))
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
func (s *Station) certInForce(d *errand, end ledger.ItemResult, denied bool) {
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
		s.alarm = meaning.TouchAlarm
	}
	if end.State == ledger.Signed {
		a := d.Order.Action.(*order.Cert)
		s.announce(d, "order-done", meaning.Certified(a, s.past.Named(a.Key).Cert))
		return
	}
	s.announce(d, "order-dropped", meaning.NotCertified(end, denied))
}
