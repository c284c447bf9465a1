package station

import (
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/fault"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
)

// maxRetry bounds the pause between two tries of a TPM that does not answer:
// an operator who mended it does not want to wait.
const maxRetry = 30 * time.Second

// startUp explains the TPM's state and makes the board ready. A TPM command
// that fails is tried again, after a pause that grows; anything else halts.
func (s *Station) startUp(pause time.Duration) {
	s.starting = true
	err := s.startNow()
	if err != nil && (fault.Passes(err) || errors.Is(err, chain.ErrUnexplained)) {
		s.silent = true
		s.log.Error().Err(err).Dur("again_in", pause).Msg("the TPM does not answer as it should")
		s.show("tpm-error", fmt.Sprintf("The TPM does not answer as it should (%v). Trying again in %s. If it stays, switch the board off and on.", err, pause.Round(time.Millisecond)))
		s.loop.After(pause, func() { s.startUp(min(2*pause, maxRetry)) })
		s.lateHello()
		return
	}
	s.starting, s.silent = false, false
	defer s.update()
	defer s.measure() // behind what it need not hold up
	defer s.lateHello()
	defer s.tellLost()
	defer s.tellOrdered()
	switch {
	case err != nil:
		s.halt(err)
	case s.past.Closed:
		s.halt(fault.ErrClosed)
	default:
		s.keepLogKey()
		s.ready()
		s.follow()
		s.updates.Keep(s.lacks())
		s.next()
	}
}

func (s *Station) startNow() error {
	if _, err := s.lockPlatform(); err != nil {
		return err
	}
	if err := s.updates.Check(s.enrolled); err != nil {
		return err
	}
	last, taken, err := s.chain.LastTime()
	if err != nil {
		return err
	}
	if taken && s.keepClock(true) {
		if err := s.chain.Load(s.clock.Now()); err != nil {
			return err
		}
	}
	if s.clock.Now().Before(last) {
		return fault.Halted(recovery.ClockBehind, &fault.ClockError{Now: s.clock.Now(), Last: last})
	}
	return s.startChain(last, taken)
}

// lockPlatform is what comes before anything else that a start asks of the TPM: as long
// as it fails nothing is concluded, and nothing signed. It reports whether the TPM was reset.
func (s *Station) lockPlatform() (reset bool, err error) {
	if reset, err = s.platform.Try(); err != nil {
		return false, fault.Failed("locking its platform hierarchy", err)
	}
	s.platform.Took(reset)
	return reset, nil
}

// startChain explains the TPM's state from the log; last and taken are what LastTime answers.
// Behind it the platform is locked since the reset that the boot entry attests: a later
// one the next commit's attestation tells. What a start concludes while the TPM is reset
// under it, a halt too, counts for nothing.
func (s *Station) startChain(last time.Time, taken bool) error {
	err := s.chain.Start(s.clock.Now(), last, taken, s.cfg.Firmware, s.clock.Vouched())
	reset, failed := s.lockPlatform()
	if reset {
		failed = fault.Failed("a start", errors.New("the TPM was reset meanwhile"))
	}
	switch {
	case failed != nil && (reset || err == nil):
		s.chain.Dirty = true
		return failed
	case err == nil:
		s.platform.Started(*s.past.Clock)
	}
	return err
}

// restart explains the TPM's state from the log once more, after something
// happened to it that only a start can conclude from: a TPM that was reset inside
// a ceremony, a command of which nobody knows whether it was carried out. What
// was under way ends as a start ends it.
func (s *Station) restart(err error) {
	s.log.Error().Err(err).Msg("starting again")
	if d := s.decree; d != nil && d.state != decreeShown { // one that waits goes on waiting
		s.ordered, s.decree = d, nil
	}
	s.clock.LetGo()
	s.startUp(s.cfg.TPMRetry)
}

// tellLost tells the host how the job ended that a restart came upon.
func (s *Station) tellLost() {
	j := s.lost
	s.lost = nil
	if j == nil || s.recorded(j.id) {
		return
	}
	if s.halted != nil {
		s.refuse(j.id, message.CodeHalted, haltedText(s.halted))
		return
	}
	s.refuse(j.id, message.CodeBusy, "the TPM did not answer as it should, ask again")
}

// tellOrdered tells the host what became of the order that a restart came upon.
func (s *Station) tellOrdered() {
	d := s.ordered
	s.ordered = nil
	switch {
	case d == nil:
	case s.past.Done[d.Hash]:
		s.push()
		m := message.Checkpoint{Note: s.chain.Checkpoint}
		s.line.Send(m.Marshal())
	case s.halted != nil:
		s.refuse(d.Hash, message.CodeHalted, haltedText(s.halted))
	default:
		s.refuse(d.Hash, message.CodeBusy, "the TPM did not answer as it should, bring the order again")
	}
}

// watchTPM begins to look at the TPM: at once where no start does so now.
func (s *Station) watchTPM() {
	if s.clock.Confirmed() {
		s.loop.After(s.cfg.TPMPoll, s.pollTPM)
		return
	}
	s.pollTPM()
}

// pollTPM looks whether the TPM still is where the log left it: one that was
// reset beside the board (a suspended machine, a glitch) is explained by
// a new boot entry, before anything more is committed. A platform that is the
// board's is locked again whatever the board does; the rest waits until it is idle.
func (s *Station) pollTPM() {
	again := func() { s.loop.After(s.cfg.TPMPoll, s.pollTPM) }
	idle := s.idle()
	if !idle && (s.starting || !s.platform.Ours()) {
		again()
		return
	}
	s.tpm.Do(func() func() {
		reset, err := s.platform.Try()
		var pcr [32]byte
		if err == nil && idle {
			if pcr, err = s.cfg.TPM.PCR(); err != nil {
				err = fmt.Errorf("reading the PCR: %w", err)
			}
		}
		return func() {
			again() // not before: polls must not pile up before a slow TPM
			s.platform.Took(reset)
			s.polled(reset, err, idle && pcr != s.chain.PCR)
		}
	})
}

// polled takes what a look at the TPM found: that it was reset, that it does not answer, that its PCR
// is another. Under a ceremony, or a question, this waits: the next commit is behind a start.
func (s *Station) polled(reset bool, err error, moved bool) {
	switch {
	case !s.idle():
		s.chain.Dirty = s.chain.Dirty || reset || err != nil && s.platform.Ours()
	case err != nil:
		s.restart(fault.Failed("looking at it", err))
	case reset:
		s.restart(errors.New("the TPM was reset"))
	case s.chain.Dirty:
		s.restart(errors.New("a TPM command failed"))
	case moved:
		s.restart(errors.New("the TPM was reset, or its PCR extended"))
	}
}

// idle reports that nothing is under way that uses the TPM's chain.
func (s *Station) idle() bool {
	return s.clock.Confirmed() && !s.starting && s.halted == nil && s.job == nil && s.decree == nil && !s.stopping
}
