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
		s.show("tpm-error", fmt.Sprintf("The TPM does not answer as it should (%v). Trying again in %s.", err, pause.Round(time.Millisecond)))
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
	return s.chain.Start(s.clock.Now(), last, taken, s.cfg.Firmware, s.clock.Vouched())
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

// pollTPM looks whether an idle TPM still is where the log left it: one that was
// reset beside the board (a suspended machine, a glitch) is explained by
// a new boot entry, before anything is committed.
func (s *Station) pollTPM() {
	again := func() { s.loop.After(s.cfg.TPMPoll, s.pollTPM) }
	if !s.idle() {
		again()
		return
	}
	s.tpm.Do(func() func() {
		pcr, err := s.cfg.TPM.PCR()
		return func() {
			again() // not before: polls must not pile up before a slow TPM
			switch {
			case !s.idle():
			case err != nil:
				s.restart(fault.Failed("reading the PCR", err))
			case s.chain.Dirty:
				s.restart(errors.New("a TPM command failed"))
			case pcr != s.chain.PCR:
				s.restart(errors.New("the TPM was reset, or its PCR extended"))
			}
		}
	})
}

// idle reports that nothing is under way that uses the TPM's chain.
func (s *Station) idle() bool {
	return s.clock.Confirmed() && !s.starting && s.halted == nil && s.job == nil && s.decree == nil && !s.stopping
}
