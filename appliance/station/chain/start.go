package chain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// LastTime is what the next entry must not be earlier than: the time of the
// last one, or, if taken, that which the last one sets: a time order behind which
// the board died, and which HEAD took.
func (c *Chain) LastTime() (last time.Time, taken bool, err error) {
	o := c.Past.Correction
	if o == nil || o.Taken || o.Index+1 != c.cfg.Store.Size() {
		return c.Past.LastTime, false, nil
	}
	for p, err := range c.cfg.Store.PlansBackward() {
		if err != nil {
			return c.Past.LastTime, false, fault.Unreadable(err)
		}
		if p.Size != c.cfg.Store.Size() {
			break
		}
		head, err := c.cfg.TPM.Head()
		if err != nil {
			return c.Past.LastTime, false, fault.Failed("reading HEAD", err)
		}
		if head == p.Head() {
			return o.To, true, nil
		}
		break
	}
	return c.Past.LastTime, false, nil
}

// Start explains the TPM's state from the log, mends what a crash or a
// failed command left half done, and writes a boot entry, because the TPM may
// have been reset in between.
//
// A time that is further ahead of the log than the TPM's clock explains halts it
// before anything is written, as recovery.ClockAhead. last and taken are what LastTime
// answers.
func (c *Chain) Start(now, last time.Time, taken bool, firmware, clock string) error {
	ordered := last // behind a time order that HEAD took and no boot entry accounts for; else zero
	if o := c.Past.Correction; !taken && (o == nil || !o.Taken) {
		ordered = time.Time{}
	}
	recovery, err := c.reconcile(now, ordered)
	if err != nil {
		return err
	}
	tag := quote.BootTag(c.Plan.X)
	certify, facts, err := c.Certified(tag, c.Head)
	if err != nil {
		return err
	}
	q, err := c.quoted(tag, c.PCR)
	if err != nil {
		return err
	}
	boot := &ledger.Boot{
		Number: c.Past.Boots + 1, Firmware: firmware, Clock: clock, Policy: c.Past.Policy.Hash, Admin: c.Past.Admin,
		Committed: c.Size, Head: c.Head, PCR: c.PCR,
		Certify: certify, Quote: q, Recovery: recovery, Measured: c.cfg.Measured(),
	}
	bodies := []any{boot}
	if u := c.Past.Update(firmware); u != nil {
		if im := c.Past.Image; im != nil && im.Version == firmware {
			u.Image = im.Image[:]
		}
		bodies = []any{u, boot}
	}
	if err := c.AppendNow(now, bodies...); err != nil {
		return err
	}
	c.Past.Clock = &facts.Clock
	c.Dirty = false // not sooner: the boot entry is owed to what was mended
	return nil
}

// reconcile compares HEAD and PCR with the log and brings both into one state:
// it catches the PCR up if a crash came between the two extends, attests the
// newest commit if that is missing, and gives every intent without an outcome
// its outcome. It answers one word for the boot entry.
func (c *Chain) reconcile(now, ordered time.Time) (string, error) {
	plans, d, err := c.conclude(now, ordered)
	if err != nil {
		return "", err
	}
	word := "clean"
	if d.ExtendPCR != nil {
		word = "pcr-caught-up"
		if err := c.cfg.TPM.ExtendPCR(*d.ExtendPCR); err != nil {
			return "", fault.Failed(fmt.Sprintf("catching PCR %d up with HEAD", c.Past.Trust.PCR), err)
		}
	}
	p := plans[d.Committed]
	c.State = State{Size: p.Size, Plan: p, Head: p.Head(), PCR: d.PCR}
	if c.Past.AttestOf(c.Size) == nil {
		word = "commit-attested"
	}
	if len(c.Past.Open) > 0 {
		word = "outcome-recorded"
	}
	if err := c.mend(now); err != nil {
		return "", err
	}
	if err := c.obey(); err != nil {
		return "", err
	}
	return word, c.Sign(c.Past.AttestOf(c.Size))
}

// mend appends what a crash kept from being appended: the attestation of the
// newest commit, and an outcome for each intent that has none. An intent that
// HEAD never took was never given to the token; one that HEAD took may have
// been signed, which the log must not deny.
func (c *Chain) mend(now time.Time) error {
	var bodies []any
	if c.Past.AttestOf(c.Size) == nil {
		certify, _, err := c.Certified(quote.CertifyTag(c.Plan.X), c.Head)
		if err != nil {
			return err
		}
		bodies = append(bodies, &ledger.Attest{Size: c.Size, Certify: certify})
	}
	for _, p := range c.Past.Open {
		end := ledger.ItemResult{State: ledger.Unknown}
		if p.Intent >= c.Size {
			end = ledger.ItemResult{State: ledger.NotStarted, Reason: "restarted"}
		}
		bodies = append(bodies, p.Lost(end))
	}
	if len(bodies) == 0 {
		return nil
	}
	return c.AppendNow(now, bodies...)
}

// conclude decides what the TPM's state means, and reads the whole log before
// it says that the board must halt.
func (c *Chain) conclude(now, ordered time.Time) ([]anchor.Plan, recovery.Decision, error) {
	plans, o, d, err := c.decide()
	if err == nil && d.Halt != "" && !c.Past.Whole {
		c.cfg.Log.Warn().Str("halt", string(d.Halt)).Msg("reading the whole log")
		if err = c.Past.LoadAll(now); err != nil {
			err = fault.Unreadable(err)
		} else {
			plans, o, d, err = c.decide()
		}
	}
	switch {
	case err != nil:
	case d.Halt != "":
		err = &fault.HaltError{Halt: d.Halt, Observed: o, Decision: d}
	case d.Committed < 0:
		err = fault.Halted(recovery.NotEnrolled, errors.New("HEAD never took the genesis entry"))
	default:
		err = c.plausible(now, ordered, o.Clock)
	}
	return plans, d, err
}

// plausible refuses a time that nobody but the administrators can vouch for. Behind an order
// of theirs the time went on from what they ordered, for no longer than since the newest
// statement.
func (c *Chain) plausible(now, ordered time.Time, clock quote.Clock) error {
	last := c.Past.LastTime
	if !ordered.IsZero() {
		last = ordered
	}
	latest := recovery.Latest(c.Past.Stated(ordered), last, clock)
	if !now.After(latest) {
		return nil
	}
	return fault.Halted(recovery.ClockAhead, &fault.ClockError{Now: now, Last: c.Past.LastTime, Latest: latest})
}

// decide reads the TPM and asks package recovery what its state means. The
// counters come from a fresh attestation, because only attestations by the
// same key can be compared (TPM 2.0 part 1, 36.7: they carry a constant offset).
func (c *Chain) decide() (plans []anchor.Plan, o recovery.Observed, d recovery.Decision, err error) {
	if err := c.Past.ReadClock(); err != nil {
		return nil, o, d, fault.Unreadable(err)
	}
	if o, err = c.observe(); err != nil {
		return nil, o, d, err
	}
	if o.HeadMissing || o.AKMissing {
		return nil, o, recovery.Decide(o), nil
	}
	if o.Plans, err = c.plansSince(o.Since.Size, o.Head); err != nil {
		return nil, o, d, fault.Unreadable(err)
	}
	return o.Plans, o, recovery.Decide(o), nil
}

// observe reads the TPM, and what the log says that it should be.
func (c *Chain) observe() (o recovery.Observed, err error) {
	o = recovery.Observed{Size: c.cfg.Store.Size(), Attested: c.Past.Taken, Quoted: c.Past.Quoted}
	if o.Head, err = c.cfg.TPM.Head(); err != nil {
		var foreign *device.ForeignHeadError
		o.HeadMissing = errors.Is(err, device.ErrNoHead) || errors.As(err, &foreign)
		return o, missing(o, fault.Failed("reading HEAD", err))
	}
	if o.PCR, err = c.cfg.TPM.PCR(); err != nil {
		return o, fault.Failed("reading the PCR", err)
	}
	_, facts, err := c.Certified(quote.BootTag([32]byte{}), o.Head)
	if err != nil {
		o.HeadMissing = errors.Is(err, device.ErrNoHead)
		o.AKMissing = errors.Is(err, device.ErrNoAK) || !fault.Passes(err) && !errors.Is(err, ErrUnexplained) // it signs, and it is another key
		return o, missing(o, err)
	}
	o.Clock = facts.Clock
	o.Since = recovery.Base{Head: c.Past.Base, Clock: c.Past.Clock}
	if b := c.Past.LastBoot; b != nil {
		o.Since.Size, o.Since.Head, o.Since.PCR = b.Committed, b.Head, b.PCR
	}
	return o, c.resumes(&o)
}

// missing drops an error that says what o says.
func missing(o recovery.Observed, err error) error {
	if o.HeadMissing || o.AKMissing {
		return nil
	}
	return err
}

// resumes adds the resume entries behind the newest boot entry.
func (c *Chain) resumes(o *recovery.Observed) error {
	for _, r := range c.Past.Resumes {
		hash, err := order.Hash(r.Entry.Note)
		if err != nil {
			return err
		}
		facts, err := c.Past.AK.VerifyNV(r.Entry.Certify, c.Past.Trust.HeadName, quote.ResumeTag(hash))
		if err != nil {
			return past.Damaged(r.Index, err)
		}
		o.Resumes = append(o.Resumes, recovery.Base{Size: r.Index, Head: facts.Contents, PCR: r.Entry.PCR, Clock: &facts.Clock})
	}
	return nil
}

// plansSince gives the plans, oldest first, from the newest at or below a size
// on, and from the one that left HEAD where it stands, if that is older.
func (c *Chain) plansSince(size uint64, head [32]byte) (plans []anchor.Plan, err error) {
	explained := head == [32]byte{}
	for p, err := range c.cfg.Store.PlansBackward() {
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
		explained = explained || p.Head() == head
		if explained && p.Size <= size {
			break
		}
	}
	slices.Reverse(plans)
	return plans, nil
}
