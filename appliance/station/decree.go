package station

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/meaning"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// decree is what administrators order, on its way through the board: checked,
// shown, armed, appended, held by a host, committed. It has effect when HEAD
// took it and not sooner; what fails on the way leaves a void entry at
// most, and the same order can come again.
type decree struct {
	id     string // of the order, hex
	hash   [32]byte
	note   []byte
	kind   string
	order  *order.Order   // nil for a policy
	policy *policy.Policy // nil for an order

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

// The states of a decree.
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
	d, err := s.readOrder(note)
	switch {
	case err != nil:
		return err
	case s.decree != nil && s.decree.hash == d.hash:
		s.tellOrder()
		return nil
	case s.decree != nil:
		return intake.Refuse(message.CodeBusy, "another order is on display")
	}
	s.decree, d.linked = d, linked
	s.log.Warn().Str("order", d.id).Str("kind", d.kind).Msg("order received")
	if s.job != nil {
		s.tellOrder()
		return nil
	}
	s.showDecree("")
	return nil
}

// readOrder checks an order against the log and the law as they are now.
func (s *Station) readOrder(raw []byte) (*decree, error) {
	if s.past.Policy == nil {
		return nil, intake.Refuse(message.CodeHalted, "%v", s.halted)
	}
	hash, err := order.Hash(raw)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	d := &decree{id: hex.EncodeToString(hash[:]), hash: hash, note: raw, state: decreeShown, alone: s.link.host == ""}
	if s.past.Done[hash] {
		return nil, errDone
	}
	text, err := message.NoteText(raw)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	if o, perr := order.Parse(text); perr == nil {
		d.kind = o.Action.Kind()
		var without error
		d.note, without = s.possess(raw, o)
		if d.order, err = order.Open(d.note, s.past.Policy.Administrators.Keys, s.past.Policy.Administrators.Quorum); err != nil {
			err = joinLine(err, without)
		}
	} else {
		d.kind = ledger.KindPolicy
		d.policy, err = s.past.Policy.Successor(raw)
	}
	if err != nil {
		return nil, intake.Refuse(message.CodeBadSignature, "%v", err)
	}
	return d, s.fits(d)
}

// joinLine is one line of two errors, of which the second may be nil.
func joinLine(err, more error) error {
	if more == nil {
		return err
	}
	return fmt.Errorf("%w; %w", err, more)
}

var errDone = intake.Refuse(message.CodeInForce, "this order took effect already")

// fits says why an order does not fit this log, or the state of the board.
func (s *Station) fits(d *decree) error {
	if !s.clock.Confirmed() || s.starting {
		return intake.Refuse(message.CodeBusy, "the board is not ready for an order yet")
	}
	if err := s.fitsHealing(); err != nil {
		return err
	}
	if o := d.order; o != nil {
		if o.Origin != s.past.Trust.Origin {
			return intake.Refuse(message.CodeWrongOrigin, "the order is for %s", o.Origin)
		}
		if o.After.Size > s.cfg.Store.Size() {
			return intake.Refuse(message.CodeUnknownHead, "the order presumes %d entries, this log has %d", o.After.Size, s.cfg.Store.Size())
		}
		root, err := s.cfg.Store.Root(o.After.Size)
		if err != nil {
			return intake.Refuse(message.CodeBusy, "the log cannot be read: %v", err)
		}
		if root != o.After.Root {
			return intake.Refuse(message.CodeForkedHead, "the order was made for another log than this one")
		}
		if k, ok := o.Action.(*order.Key); ok {
			if err := s.fitsKey(k); err != nil {
				return err
			}
		}
		if im, ok := o.Action.(*order.Image); ok {
			if err := s.updates.Fits(im); err != nil {
				return err
			}
		}
		if d.kind == ledger.KindCert {
			if _, err := s.planCert(d, s.clock.Now()); err != nil && !errors.Is(err, errNextSecond) {
				return err
			}
		}
	}
	return s.leads(d)
}

// leads says why an order does not lead out of the state that the board has
// halted in. One that is not halted takes all but a resume.
func (s *Station) leads(d *decree) error {
	var h *chain.HaltError
	switch {
	case s.past.Closed:
		return intake.Refuse(message.CodeHalted, "%v", errClosed)
	case errors.As(s.halted, &h) && d.kind == ledger.KindResume:
		if err := h.Decision.Resume(h.Observed, d.order.Action.(*order.Resume)); err != nil {
			return intake.Refuse(message.CodeHalted, "%v", err)
		}
	case d.kind == ledger.KindResume:
		return intake.Refuse(message.CodeBadMessage, "the board has not halted in a state that administrators can order to resume from")
	case s.clockHalt() && d.kind == ledger.KindTime:
	case s.halted != nil:
		return intake.Refuse(message.CodeHalted, "the appliance has halted: %v", s.halted)
	}
	return nil
}

// describe says what an order means, in lines for the operator.
func describe(now *past.Law, d *decree, at time.Time) []string {
	if d.policy != nil {
		return meaning.Policy(now.Policy, d.policy)
	}
	return meaning.Order(d.order, certificateOf(now, d.order), at)
}

// certificateOf is what a cert order is about, nil for any other.
func certificateOf(now *past.Law, o *order.Order) *certificate.Certificate {
	a, ok := o.Action.(*order.Cert)
	if !ok {
		return nil
	}
	k := now.Named(a.Key)
	if k == nil {
		return nil
	}
	return k.Cert
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
		state = d.job.machine.Phase().String()
	}
	return &operator.Order{ID: d.id, Kind: d.kind, Lines: describe(&s.past.Law, d, s.clock.Now()), State: state, Unmirrored: d.alone}
}

// decideOrder obeys the operator about the order on display; it answers false if
// that is not what is on display.
func (s *Station) decideOrder(c operator.Command) bool {
	d := s.decree
	if d == nil || s.job != nil || c.Job != d.id {
		return false
	}
	switch {
	case d.state == decreeStaging && c.Verb != operator.Deny:
		s.say("The image is being written.")
	case d.state == decreeCommitting || d.state == decreeMirroring && c.Verb != operator.Deny:
		s.say("Too late: it is being committed.")
	case c.Verb == operator.Deny:
		s.dropDecree(message.CodeDenied, "the operator denied the order")
	case c.Verb == operator.Arm && (d.alone || s.link.host == ""):
		d.alone = true
		s.say("No host holds it. Connect one, or go on without: u.")
	case d.kind == ledger.KindCert && s.token.state != tokenReady:
		s.say("The token is not ready (" + s.token.state + "): nothing was armed.")
	case d.kind == ledger.KindCert && s.notHeld(d.order.Action.(*order.Cert).Key):
	default:
		s.armDecree(d)
	}
	return true
}

// armDecree appends the order's entry with its plan.
func (s *Station) armDecree(d *decree) {
	if d.timer != nil {
		d.timer.Stop()
	}
	if im, ok := imageOf(d); ok && !d.staged {
		s.stage(d, im)
		return
	}
	err := s.prepareDecree(d)
	var r *policy.Refusal
	switch {
	case errors.As(err, &r):
		s.dropDecree(r.Code, r.Text)
		return
	case errors.Is(err, errNextSecond):
		s.after(time.Second, func() {
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
	d.timer = s.after(s.cfg.MirrorTimeout, func() { s.unmirrored(d) })
	s.showDecree("")
	s.push()
}

// prepareDecree checks once more, and makes entry and plan durable.
func (s *Station) prepareDecree(d *decree) error {
	now, err := s.readOrder(d.note)
	if err != nil {
		return err
	}
	d.order, d.policy, d.note = now.order, now.policy, now.note
	if d.kind == ledger.KindResume {
		return s.prepareResume(d)
	}
	if s.clockHalt() {
		last, _, err := s.lastTime()
		if err != nil {
			return failedOrder("reading where the log stands", err)
		}
		s.clock.Hold(last) // entries go on from where they are until the order has effect
		s.chain.Dirty = true
	}
	if err := s.afterFault(); err != nil {
		return err
	}
	if s.past.Done[d.hash] { // as that found, of an order that a death cut off
		return errDone
	}
	if s.clock.Now().Before(s.past.LastTime) {
		return intake.Refuse(message.CodeClockSkew, "the board's clock went backwards")
	}
	entry := &ledger.Order{Action: d.kind, Mirrored: !d.alone, Previous: s.past.Admin, Note: d.note}
	if d.kind == ledger.KindCert {
		return s.prepareCert(d, entry)
	}
	return s.appendDecree(d, s.chain.State, entry)
}

// prepareResume starts from HEAD as it is: what the log led to is over.
func (s *Station) prepareResume(d *decree) error {
	var h *chain.HaltError
	if !errors.As(s.halted, &h) {
		return errors.New("not halted")
	}
	o := h.Observed
	pcr, err := s.cfg.TPM.PCR()
	if err != nil {
		return failedOrder("reading the PCR", err)
	}
	certify, _, err := s.chain.Certified(quote.ResumeTag(d.hash), o.Head)
	if err != nil {
		return failedOrder("attesting HEAD", err)
	}
	var bodies []any
	for _, p := range s.past.Open {
		bodies = append(bodies, p.Lost(ledger.ItemResult{State: ledger.Unknown}))
	}
	bodies = append(bodies, &ledger.Order{Action: d.kind, Mirrored: !d.alone, Previous: s.past.Admin, PCR: pcr, Certify: certify, Note: d.note})
	return s.appendDecree(d, chain.State{Head: o.Head, PCR: pcr}, bodies...)
}

func failedOrder(what string, err error) error {
	return intake.Refuse(message.CodeBusy, "%s failed, try again: %v", what, err)
}

func (s *Station) appendDecree(d *decree, at chain.State, bodies ...any) error {
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
func (s *Station) unmirrored(d *decree) {
	if s.decree == d && d.state == decreeMirroring {
		d.state, d.alone, d.timer = decreeShown, true, nil
		s.showDecree("No host holds the order. It has no effect yet.")
	}
}

// commitDecree extends HEAD and PCR and attests both, in one piece: nothing may
// come between them.
func (s *Station) commitDecree(d *decree) {
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
func (s *Station) notTaken(d *decree, err error) {
	if errors.Is(err, chain.ErrUnexplained) {
		s.restart(err)
		return
	}
	s.dropDecree(message.CodeBusy, "the TPM did not take the order, bring it again: "+err.Error())
}

// taken gives an order its effect. What the commit lacks, a start makes good.
func (s *Station) taken(d *decree, a *ledger.Attest, err error) {
	resumed := d.kind == ledger.KindResume
	s.decree = nil
	if err != nil && !resumed {
		s.log.Error().Err(err).Msg("attesting an order")
	}
	if resumed {
		s.halted = nil
	}
	mend := resumed || err != nil
	account := mend || d.kind == ledger.KindTime // a boot entry says what the clock is corrected by
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
	s.announce(d, "order-done", "The order is in force: "+d.kind+".")
	s.follow()
}

// haltOrder halts the board over an order, and says so to who brought it.
func (s *Station) haltOrder(d *decree, err error) {
	s.halt(err)
	s.refuse(d.hash, message.CodeHalted, haltedText(s.halted))
}

// imageOf is the image that an order is about.
func imageOf(d *decree) (im *order.Image, ok bool) {
	if d.order != nil {
		im, ok = d.order.Action.(*order.Image)
	}
	return im, ok
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
func (s *Station) setClock(d *decree) {
	if d.kind != ledger.KindTime {
		return
	}
	s.clock.Set(d.order.Action.(*order.Time).To)
	if s.clockHalt() {
		s.halted = nil
	}
}

// clockHalt reports whether the board halted over its clock: a correction of it
// leads out.
func (s *Station) clockHalt() bool {
	var c *chain.ClockError
	return errors.As(s.halted, &c)
}

// announce tells everybody, and goes on with what waited.
func (s *Station) announce(d *decree, event, text string) {
	s.measure()
	s.keepLogKey()
	s.log.Warn().Str("order", d.id).Str("kind", d.kind).Msg("order in force")
	s.push()
	m := message.Checkpoint{Note: s.chain.Checkpoint}
	s.send(chanInteractive, m.Marshal())
	if s.past.Closed && s.halted == nil {
		s.halt(errClosed)
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
	s.decline(d, code)
	s.clock.LetGo()
	s.log.Warn().Str("order", d.id).Str("code", code).Msg(text)
	s.refuse(d.hash, code, text)
	s.show("order-dropped", "The order has no effect: "+text+".")
	s.afterDecree()
}
