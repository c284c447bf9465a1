package station

import (
	"errors"
	"fmt"
	"slices"

	"touchmark/appliance/ceremony"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// chain is where HEAD and the PCR stand, as the log explains them.
type chain struct {
	size uint64 // leaves that HEAD has committed
	plan anchor.Plan
	head [32]byte
	pcr  [32]byte
}

// extend is one commit in flight; its values are fixed before the worker
// starts, so that worker and loop share nothing.
type extend struct {
	plan              anchor.Plan
	head, pcr         [32]byte // before
	nextHead, nextPCR [32]byte // after
	clock             quote.Clock
}

func (s *Station) commit(p anchor.Plan) extend {
	c := s.chain
	return extend{p, c.head, c.pcr, anchor.Extend(c.head, p.X), anchor.Extend(c.pcr, p.X), s.hist.clock}
}

// extendHead runs NV_Extend. After an error it reads HEAD back, because the
// command may have been carried out all the same.
func (s *Station) extendHead(j *job) {
	e := j.extend
	s.tpm.do(func() func() {
		applied, err := settle(s.cfg.TPM.ExtendHead(e.plan.X), e.head, e.nextHead, s.cfg.TPM.Head)
		return func() { s.headExtended(j, applied, err) }
	})
}

func (s *Station) headExtended(j *job, applied bool, err error) {
	switch {
	case applied:
		s.chain.size, s.chain.plan, s.chain.head = j.extend.plan.Size, j.extend.plan, j.extend.nextHead
		s.step(j, ceremony.HeadExtended{})
	case errors.Is(err, errUnexplained):
		s.step(j, ceremony.Lost{Err: err})
	default:
		s.log.Error().Err(err).Msg("NV_Extend")
		s.step(j, ceremony.HeadExtended{Err: err})
	}
}

// extendPCR runs PCR_Extend, under the same rule. If it did not take, the
// chain owes the PCR this commit; reconcile pays before the next one.
func (s *Station) extendPCR(j *job) {
	e := j.extend
	s.tpm.do(func() func() {
		applied, err := settle(s.cfg.TPM.ExtendPCR(e.plan.X), e.pcr, e.nextPCR, s.cfg.TPM.PCR)
		return func() { s.pcrExtended(j, applied, err) }
	})
}

func (s *Station) pcrExtended(j *job, applied bool, err error) {
	switch {
	case applied:
		s.chain.pcr = j.extend.nextPCR
		s.step(j, ceremony.PCRExtended{})
	case errors.Is(err, errUnexplained):
		s.step(j, ceremony.Lost{Err: err})
	default:
		s.log.Error().Err(err).Msg("PCR_Extend")
		s.dirty = true
		s.step(j, ceremony.PCRExtended{Err: err})
	}
}

var errUnexplained = errors.New("the TPM is in a state that the log does not explain: restart the appliance")

// settle decides whether an extension that may have failed was carried out.
func settle(err error, before, after [32]byte, read func() ([32]byte, error)) (applied bool, _ error) {
	if err == nil {
		return true, nil
	}
	now, readErr := read()
	switch {
	case readErr != nil:
		return false, fmt.Errorf("%w (%w; then %w)", errUnexplained, err, readErr)
	case now == after:
		return true, nil
	case now == before:
		return false, err
	}
	return false, fmt.Errorf("%w (%w)", errUnexplained, err)
}

// attest makes both attestations of a commit beside the touch and verifies
// them as any auditor would.
func (s *Station) attest(j *job) {
	e := j.extend
	s.tpm.do(func() func() {
		a, err := s.attestation(e)
		return func() {
			if err != nil {
				s.log.Error().Err(err).Msg("attestation")
				s.dirty = true
			}
			j.attest = a
			s.step(j, ceremony.Attested{Err: err})
		}
	})
}

func (s *Station) attestation(e extend) (*ledger.Attest, error) {
	certify, facts, err := s.certified(quote.CertifyTag(e.plan.X), e.nextHead)
	if err != nil {
		return nil, err
	}
	if !sameRun(facts.Clock, e.clock) {
		return nil, errUnexplained
	}
	q, err := s.quoted(quote.QuoteTag(e.plan.X), e.nextPCR)
	if err != nil {
		return nil, err
	}
	return &ledger.Attest{Size: e.plan.Size, Certify: certify, Quote: q}, nil
}

// sameRun reports whether the TPM was neither reset nor restarted between two
// attestations: only a boot entry may account for that.
func sameRun(a, b quote.Clock) bool {
	return a.ResetCount == b.ResetCount && a.RestartCount == b.RestartCount
}

// certified makes an NV_Certify of HEAD and checks that it says what it should.
func (s *Station) certified(tag, head [32]byte) (quote.Attestation, quote.NVFacts, error) {
	a, err := s.cfg.TPM.CertifyHead(tag)
	if err != nil {
		return a, quote.NVFacts{}, failed("attesting HEAD", err)
	}
	facts, err := s.ak.VerifyNV(a, s.trust.HeadName, tag)
	if err == nil && facts.Contents != head {
		err = errUnexplained
	}
	return a, facts, err
}

// quoted makes a quote of the boot chain's PCR and checks it.
func (s *Station) quoted(tag, pcr [32]byte) (quote.Attestation, error) {
	a, err := s.cfg.TPM.QuotePCR(tag)
	if err != nil {
		return a, failed(fmt.Sprintf("quoting PCR %d", s.trust.PCR), err)
	}
	facts, err := s.ak.VerifyQuote(a, s.trust.PCR, tag)
	if err == nil && facts.PCRDigest != quote.PCRDigest(pcr) {
		err = errUnexplained
	}
	return a, err
}

// startChain explains the TPM's state from the log, mends what a crash or a
// failed command left half done, and writes a boot entry, because the TPM may
// have been reset in between.
func (s *Station) startChain() error {
	recovery, err := s.reconcile()
	if err != nil {
		return err
	}
	tag := quote.BootTag(s.chain.plan.X)
	certify, facts, err := s.certified(tag, s.chain.head)
	if err != nil {
		return err
	}
	q, err := s.quoted(tag, s.chain.pcr)
	if err != nil {
		return err
	}
	boot := &ledger.Boot{
		Number: s.hist.boots + 1, Firmware: Version, Clock: s.clock, Policy: s.policy.Hash, Admin: s.hist.admin,
		Committed: s.chain.size, Head: s.chain.head, PCR: s.chain.pcr,
		Certify: certify, Quote: q, Recovery: recovery,
	}
	if err := s.appendNow(boot); err != nil {
		return err
	}
	s.hist.clock = facts.Clock
	s.dirty = false // not sooner: the boot entry is owed to what was mended
	return nil
}

// appendNow encodes and appends entries at the present time.
func (s *Station) appendNow(bodies ...any) error {
	entries, err := s.entries(s.now(), bodies...)
	if err != nil {
		return err
	}
	return s.append(nil, entries...)
}

// reconcile compares HEAD and PCR with the log and brings both into one state:
// it catches the PCR up if a crash came between the two extends, attests the
// newest commit if that is missing, and gives every intent without an outcome
// its outcome. It answers one word for the boot entry.
func (s *Station) reconcile() (string, error) {
	plans, d, err := s.conclude()
	if err != nil {
		return "", err
	}
	word := "clean"
	if d.ExtendPCR != nil {
		word = "pcr-caught-up"
		if err := s.cfg.TPM.ExtendPCR(*d.ExtendPCR); err != nil {
			return "", failed(fmt.Sprintf("catching PCR %d up with HEAD", s.trust.PCR), err)
		}
	}
	p := plans[d.Committed]
	s.chain = chain{size: p.Size, plan: p, head: p.Head(), pcr: d.PCR}
	if s.hist.attestOf(s.chain.size) == nil {
		word = "commit-attested"
	}
	if len(s.hist.open) > 0 {
		word = "outcome-recorded"
	}
	if err := s.mend(); err != nil {
		return "", err
	}
	if err := s.obey(); err != nil {
		return "", err
	}
	return word, s.signCheckpoint(s.hist.attestOf(s.chain.size))
}

// mend appends what a crash kept from being appended: the attestation of the
// newest commit, and an outcome for each intent that has none. An intent that
// HEAD never took was never given to the token; one that HEAD took may have
// been signed, which the log must not deny.
func (s *Station) mend() error {
	var bodies []any
	if s.hist.attestOf(s.chain.size) == nil {
		certify, _, err := s.certified(quote.CertifyTag(s.chain.plan.X), s.chain.head)
		if err != nil {
			return err
		}
		bodies = append(bodies, &ledger.Attest{Size: s.chain.size, Certify: certify})
	}
	for _, p := range s.hist.open {
		end := ledger.ItemResult{State: ledger.Unknown}
		if p.intent >= s.chain.size {
			end = ledger.ItemResult{State: ledger.NotStarted, Reason: "restarted"}
		}
		bodies = append(bodies, p.lost(end))
	}
	if len(bodies) == 0 {
		return nil
	}
	return s.appendNow(bodies...)
}

// conclude decides what the TPM's state means, and reads the whole log before
// it says that the board must halt.
func (s *Station) conclude() ([]anchor.Plan, recovery.Decision, error) {
	plans, o, d, err := s.decide()
	if err == nil && d.Halt != "" && s.hist.from > 0 {
		s.log.Warn().Str("halt", string(d.Halt)).Msg("reading the whole log")
		if err = s.loadAll(); err == nil {
			plans, o, d, err = s.decide()
		}
	}
	switch {
	case err != nil:
	case d.Halt != "":
		err = &haltError{d.Halt, o, d}
	case d.Committed < 0:
		err = errors.New("enrolment was not finished: HEAD never took the genesis entry")
	}
	return plans, d, err
}

// decide reads the TPM and asks package recovery what its state means. The
// counters come from a fresh attestation, because only attestations by the
// same key can be compared (TPM 2.0 part 1, 36.7: they carry a constant offset).
func (s *Station) decide() (plans []anchor.Plan, o recovery.Observed, d recovery.Decision, err error) {
	if err := s.readClock(); err != nil {
		return nil, o, d, fmt.Errorf("reading the log: %w", err)
	}
	if o, err = s.observe(); err != nil {
		return nil, o, d, err
	}
	if o.HeadMissing || o.AKMissing {
		return nil, o, recovery.Decide(o), nil
	}
	if o.Plans, err = s.plansSince(o.Since.Size, o.Head); err != nil {
		return nil, o, d, fmt.Errorf("reading the log: %w", err)
	}
	return o.Plans, o, recovery.Decide(o), nil
}

// observe reads the TPM, and what the log says that it should be.
func (s *Station) observe() (o recovery.Observed, err error) {
	o = recovery.Observed{Size: s.cfg.Store.Size(), Attested: s.hist.taken}
	if o.Head, err = s.cfg.TPM.Head(); err != nil {
		o.HeadMissing = errors.Is(err, device.ErrNoHead)
		return o, missing(o, failed("reading HEAD", err))
	}
	if o.PCR, err = s.cfg.TPM.PCR(); err != nil {
		return o, failed("reading the PCR", err)
	}
	_, facts, err := s.certified(quote.BootTag([32]byte{}), o.Head)
	if err != nil {
		o.AKMissing = errors.Is(err, device.ErrNoAK)
		return o, missing(o, err)
	}
	o.Clock = facts.Clock
	o.Since = recovery.Base{Head: s.base, Clock: &s.hist.clock}
	if b := s.hist.lastBoot; b != nil {
		o.Since.Size, o.Since.Head, o.Since.PCR = b.Committed, b.Head, b.PCR
	}
	return o, s.resumes(&o)
}

// missing drops an error that says what o says.
func missing(o recovery.Observed, err error) error {
	if o.HeadMissing || o.AKMissing {
		return nil
	}
	return err
}

// resumes adds the resume entries behind the newest boot entry.
func (s *Station) resumes(o *recovery.Observed) error {
	for _, r := range s.hist.resumes {
		hash, err := order.Hash(r.entry.Note)
		if err != nil {
			return err
		}
		facts, err := s.ak.VerifyNV(r.entry.Certify, s.trust.HeadName, quote.ResumeTag(hash))
		if err != nil {
			return damaged(r.index, err)
		}
		o.Resumes = append(o.Resumes, recovery.Base{Size: r.index, Head: facts.Contents, PCR: r.entry.PCR, Clock: &facts.Clock})
	}
	return nil
}

// plansSince gives the plans, oldest first, from the newest at or below a size
// on, and from the one that left HEAD where it stands, if that is older.
func (s *Station) plansSince(size uint64, head [32]byte) (plans []anchor.Plan, err error) {
	explained := head == [32]byte{}
	for p, err := range s.cfg.Store.PlansBackward() {
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

// signCheckpoint makes the signed checkpoint of the newest commit from its
// attestation. Only sizes that HEAD has committed are ever signed.
func (s *Station) signCheckpoint(a *ledger.Attest) error {
	root, err := s.cfg.Store.Root(a.Size)
	if err != nil {
		return err
	}
	body := ledger.CheckpointBody(s.trust.Origin, a.Size, root)
	note, err := anchor.SignCheckpoint(body, s.cfg.LogKey, *s.trust, s.chain.plan.Prev, a.Certify)
	if err != nil {
		return fmt.Errorf("signing the checkpoint: %w", err)
	}
	s.checkpoint = note
	return nil
}
