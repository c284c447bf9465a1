package station

import (
	"fmt"
	"time"

	"touchmark/tpm/ledger"
)

const (
	// keepCorrection is the least correction that a start takes over from the one
	// before: of less, nobody can tell a clock that was set right meanwhile from
	// one that was not. What is corrected by more is a machine that lost its time.
	keepCorrection = 30 * 24 * time.Hour
	// noCorrection is what a clock may differ by from an order that only repeats
	// what it says.
	noCorrection = time.Minute
)

// The times that a text can have (docs/spec/message.md section 1). A clock that was lost says
// less: the board then halts, and can say so.
var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2199, 12, 31, 23, 59, 59, 0, time.UTC)
)

// now is the board's time in whole seconds, which is what entries hold.
func (s *Station) now() time.Time {
	if !s.held.IsZero() {
		return s.held
	}
	t := s.cfg.Clock().UTC().Add(s.shift).Truncate(time.Second)
	switch {
	case t.Before(s.floor):
		return s.floor
	case t.Before(earliest):
		return earliest
	case t.After(latest):
		return latest
	}
	return t
}

// keepShift goes on with the correction that the start before went on with, as
// long as the machine's clock runs as it did: ahead, so that the corrected time
// is not behind the log; or behind, so that without it it is not. A time order that
// HEAD took corrects on, although no boot entry says so yet; taken says that
// HEAD took one that no attest entry names.
func (s *Station) keepShift(taken bool) bool {
	boot := s.past.LastBoot
	if boot == nil {
		return false
	}
	by, ok := ledger.Correction(boot.Clock)
	machine, last := s.cfg.Clock().UTC(), s.past.LastTime
	// An order that sets a clock ahead which nothing corrected may have met one that
	// was behind the log: then its entry does not say what that clock said.
	if c := s.past.Correction; c != nil && (c.Taken || taken) && (ok || c.To.Before(c.At)) {
		by, ok = by+c.To.Sub(c.At), true
		if taken {
			last = c.To
		}
	}
	slack := machine.Add(by + noCorrection) // orders and machines have fractions of seconds
	ahead, behind := by < 0 && !slack.Before(last), by > 0 && machine.Before(last)
	if !ok || by.Abs() < keepCorrection || !ahead && !behind {
		return false
	}
	s.shift = by
	if !slack.Before(last) {
		s.floor = last
	}
	return true
}

// vouched is who vouches for the clock, for a boot entry.
func (s *Station) vouched() string {
	if !s.held.IsZero() {
		return ledger.ClockHostUnset
	}
	if s.shift.Abs() < noCorrection {
		return s.clock
	}
	return ledger.ClockCorrected(s.shift.Round(time.Second))
}

// clockWarning is shown as long as the machine's clock is wrong.
func (s *Station) clockWarning() string {
	if s.shift.Abs() < noCorrection {
		return ""
	}
	return fmt.Sprintf("The machine's clock says %s: administrators corrected it. Set it before the next start.", stamp(s.cfg.Clock()))
}
