package station

import (
	"errors"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/appliance/policy"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/decree"
	"touchmark/appliance/station/fault"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// errand is what administrators order, on its way through the board: checked,
// shown, armed, appended, held by a host, committed. It has effect when HEAD
// took it and not sooner; what fails on the way leaves a void entry at
// most, and the same order can come again.
type errand struct {
	*decree.Decree

	state  string    // of the display
	alone  bool      // no host holds it: the operator must agree to go on
	linked bool      // a host brought it: it does not stay on display for ever
	until  time.Time // when it leaves the display, if it is linked
	timer  *time.Timer
	job    *job   // of a cert order that is armed: its ceremony
	staged bool   // the image of an image order is in its slot
	cancel func() // ends the writing of it; nil if none is under way
	chain.Commit
}

// The states of an errand.
const (
	decreeShown      = "shown"
	decreeStaging    = "staging"
	decreeMirroring  = "mirroring"
	decreeCommitting = "committing"
)

// takeOrder hands the board a note by the administrators, an order or a policy, as
// somebody brought it, over the link or not. It answers why it is not shown to
// the operator.
func (s *Station) takeOrder(note []byte, linked bool) error {
	read, err := s.readOrder(note)
	switch {
	case err != nil:
		return err
	case s.decree != nil && s.decree.Hash == read.Hash:
		s.tellOrder()
		return nil
	case s.decree != nil:
		return intake.Refuse(message.CodeBusy, "another order is on display")
	}
	d := &errand{Decree: read, state: decreeShown, alone: s.line.Host() == "", linked: linked}
	s.decree = d
	s.log.Warn().Str("order", d.ID).Str("kind", d.Kind).Msg("order received")
	if s.job != nil {
		s.tellOrder()
		return nil
	}
	s.showDecree("")
	return nil
}

// readOrder checks an order against the log and the law as they are now.
func (s *Station) readOrder(note []byte) (*decree.Decree, error) {
	b := decree.Board{
		Past: s.past, Store: s.cfg.Store, Key: s.cfg.LogKeys.Find, Image: s.updates.Fits,
		Time: s.clock.Now(), Busy: s.busy(), Halted: s.halted,
	}
	return b.Read(note)
}

// busy says why the board takes no order now.
func (s *Station) busy() error {
	if !s.clock.Confirmed() || s.starting {
		return intake.Refuse(message.CodeBusy, "the board is not ready for an order yet")
	}
	return s.fitsHealing()
}

func (s *Station) showDecree(text string) {
	s.limitDecree(s.decree)
	s.tellOrder()
	s.show("order", text)
}

// orderView is the order on display.
func (s *Station) orderView() *operator.Order {
	d := s.decree
	if d == nil || s.job != nil && s.job != d.job {
		return nil
	}
	state := d.state
	if d.job != nil {
		state = d.job.phase().String()
	}
	return &operator.Order{ID: d.ID, Kind: d.Kind, Lines: d.Lines(&s.past.Law, s.clock.Now()), State: state, Unmirrored: d.alone}
}

// decideOrder obeys the operator about the order on display; it answers false if
// that is not what is on display.
func (s *Station) decideOrder(c operator.Command) bool {
	d := s.decree
	if d == nil || s.job != nil || c.Job != d.ID {
		return false
	}
	switch {
	case d.state == decreeStaging && c.Verb != operator.Deny:
		s.say("The image is being written.")
	case d.state == decreeCommitting || d.state == decreeMirroring && c.Verb != operator.Deny:
		s.say("Too late: it is being committed.")
	case c.Verb == operator.Deny:
		s.dropDecree(message.CodeDenied, "the operator denied the order")
	case c.Verb == operator.Arm && (d.alone || s.line.Host() == ""):
		d.alone = true
		s.say("No host holds it. Connect one, or go on without: u.")
	case d.Kind == ledger.KindCert && !s.armable(d.Order.Action.(*order.Cert).Key):
	default:
		s.armDecree(d)
	}
	return true
}

// armDecree appends the order's entry with its plan.
func (s *Station) armDecree(d *errand) {
	if d.timer != nil {
		d.timer.Stop()
	}
	if im, ok := d.Image(); ok && !d.staged {
		s.stage(d, im)
		return
	}
	err := s.prepareDecree(d)
	var r *policy.Refusal
	switch {
	case errors.As(err, &r):
		s.dropDecree(r.Code, r.Text)
		return
	case errors.Is(err, decree.ErrNextSecond):
		s.loop.After(time.Second, func() {
			if s.decree == d && s.job == nil && d.state == decreeShown {
				s.armDecree(d)
			}
		})
		return
	case err != nil:
		s.decree = nil
		s.clock.LetGo()
		s.haltOrder(d, err)
		return
	}
	if d.job != nil {
		s.beginCert(d)
		return
	}
	if d.alone {
		s.commitDecree(d)
		return
	}
	d.state = decreeMirroring
	d.timer = s.loop.After(s.cfg.MirrorTimeout, func() { s.unmirrored(d) })
	s.showDecree("")
	s.push()
}

// prepareDecree checks once more, and makes entry and plan durable.
func (s *Station) prepareDecree(d *errand) error {
	now, err := s.readOrder(d.Note)
	if err != nil {
		return err
	}
	d.Decree = now
	if d.Kind == ledger.KindResume {
		return s.prepareResume(d)
	}
	if fault.OverClock(s.halted) {
		last, _, err := s.chain.LastTime()
		if err != nil {
			return failedOrder("reading where the log stands", err)
		}
		s.clock.Hold(last) // entries go on from where they are until the order has effect
		s.chain.Dirty = true
	}
	if err := s.afterFault(); err != nil {
		return err
	}
	if s.past.Done[d.Hash] { // as that found, of an order that a death cut off
		return decree.ErrDone
	}
	if s.clock.Now().Before(s.past.LastTime) {
		return intake.Refuse(message.CodeClockSkew, "the board's clock went backwards")
	}
	entry := &ledger.Order{Action: d.Kind, Mirrored: !d.alone, Previous: s.past.Admin, Note: d.Note}
	if d.Kind == ledger.KindCert {
		return s.prepareCert(d, entry)
	}
	return s.appendDecree(d, s.chain.State, entry)
}

// prepareResume starts from HEAD as it is: what the log led to is over.
func (s *Station) prepareResume(d *errand) error {
	var h *fault.HaltError
	if !errors.As(s.halted, &h) {
		return errors.New("not halted")
	}
	o := h.Observed
	if _, err := s.lockPlatform(); err != nil {
		return failedOrder("asking the TPM", err)
	}
	pcr, err := s.cfg.TPM.PCR()
	if err != nil {
		return failedOrder("reading the PCR", err)
	}
	certify, _, err := s.chain.Certified(quote.ResumeTag(d.Hash), o.Head)
	if err != nil {
		return failedOrder("attesting HEAD", err)
	}
	var bodies []any
	for _, p := range s.past.Open {
		bodies = append(bodies, p.Lost(ledger.ItemResult{State: ledger.Unknown}))
	}
	bodies = append(bodies, &ledger.Order{Action: d.Kind, Mirrored: !d.alone, Previous: s.past.Admin, PCR: pcr, Certify: certify, Note: d.Note})
	return s.appendDecree(d, chain.State{Head: o.Head, PCR: pcr}, bodies...)
}

func failedOrder(what string, err error) error {
	return intake.Refuse(message.CodeBusy, "%s failed, try again: %v", what, err)
}

func (s *Station) appendDecree(d *errand, at chain.State, bodies ...any) error {
	when := s.clock.Now()
	if when.Before(s.past.LastTime) {
		when = s.past.LastTime
	}
	entries, err := s.chain.Entries(when, bodies...)
	if err != nil {
		return err
	}
	plan, err := s.chain.Planned(entries)
	if err != nil {
		return err
	}
	plan.Prev = at.Head
	d.Commit = s.chain.CommitAt(at, *plan)
	return s.chain.Append(plan, entries...)
}

// unmirrored is when no host held the order's entry in time: that entry is void,
// and the operator is asked whether another one shall go without.
func (s *Station) unmirrored(d *errand) {
	if s.decree == d && d.state == decreeMirroring {
		d.state, d.alone, d.timer = decreeShown, true, nil
		s.showDecree("No host holds the order. It has no effect yet.")
	}
}

// commitDecree extends HEAD and PCR and attests both, in one piece: nothing may
// come between them.
func (s *Station) commitDecree(d *errand) {
	d.state = decreeCommitting
	if d.timer != nil {
		d.timer.Stop()
	}
	s.showDecree("")
	m := d.Commit
	s.tpm.Do(func() func() {
		applied, err := s.chain.ExtendHead(m)
		if !applied {
			return func() { s.notTaken(d, err) }
		}
		var a *ledger.Attest
		if applied, err = s.chain.ExtendPCR(m); applied {
			a, err = s.chain.Attestation(m, nil, nil)
		}
		return func() { s.taken(d, a, err) }
	})
}

// notTaken is an order that HEAD did not take.
func (s *Station) notTaken(d *errand, err error) {
	if errors.Is(err, chain.ErrUnexplained) {
		s.restart(err)
		return
	}
	s.dropDecree(message.CodeBusy, "the TPM did not take the order, bring it again: "+err.Error())
}

// taken gives an order its effect. What the commit lacks, a start makes good.
func (s *Station) taken(d *errand, a *ledger.Attest, err error) {
	resumed := d.Kind == ledger.KindResume
	s.decree = nil
	if err != nil && !resumed {
		s.log.Error().Err(err).Msg("attesting an order")
	}
	if resumed {
		s.halted = nil
	}
	mend := resumed || err != nil
	account := mend || d.Kind == ledger.KindTime // a boot entry says what the clock is corrected by
	s.setClock(d)                                // entries behind this one have the new time
	if !mend {
		s.chain.State = d.After
		err = s.chain.AppendNow(s.clock.Now(), a)
	} else {
		err = nil
	}
	if err == nil {
		err = s.reload()
	}
	switch {
	case err != nil:
		s.haltOrder(d, err)
		return
	case account:
		s.startUp(s.cfg.TPMRetry)
	}
	s.announce(d, "order-done", "The order is in force: "+d.Kind+".")
	s.follow()
}

// haltOrder halts the board over an order, and says so to who brought it.
func (s *Station) haltOrder(d *errand, err error) {
	s.halt(err)
	s.refuse(d.Hash, message.CodeHalted, haltedText(s.halted))
}

// reload lets the log say what is in force now, and signs the checkpoint with the
// log key that is.
func (s *Station) reload() error {
	if err := s.chain.Load(s.clock.Now()); err != nil {
		return err
	}
	return s.past.ReadClock()
}

// setClock does what a time order says, which leads out of a halt about the
// clock.
func (s *Station) setClock(d *errand) {
	if d.Kind != ledger.KindTime {
		return
	}
	s.clock.Set(d.Order.Action.(*order.Time).To)
	if fault.OverClock(s.halted) {
		s.halted = nil
	}
}

// announce tells everybody, and goes on with what waited.
func (s *Station) announce(d *errand, event, text string) {
	s.measure()
	s.keepLogKey()
	s.log.Warn().Str("order", d.ID).Str("kind", d.Kind).Msg("order in force")
	s.push()
	m := message.Checkpoint{Note: s.chain.Checkpoint}
	s.line.Send(m.Marshal())
	if s.past.Closed && s.halted == nil {
		s.halt(fault.ErrClosed)
		return
	}
	s.show(event, text)
	s.afterDecree()
}

// afterDecree goes on with what waited.
func (s *Station) afterDecree() {
	if s.stopping {
		s.quit()
		return
	}
	s.next()
}

// committing reports that an order is being committed.
func (s *Station) committing() bool { return s.decree != nil && s.decree.state == decreeCommitting }

// dropDecree ends an order without effect.
func (s *Station) dropDecree(code, text string) {
	d := s.decree
	s.decree = nil
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.cancel != nil {
		d.cancel()
	}
	s.declined.Note(d.Hash, code)
	s.clock.LetGo()
	s.log.Warn().Str("order", d.ID).Str("code", code).Msg(text)
	s.refuse(d.Hash, code, text)
	s.show("order-dropped", "The order has no effect: "+text+".")
	s.afterDecree()
}
