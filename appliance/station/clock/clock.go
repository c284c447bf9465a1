// Package clock is the time that a board goes by: the machine's, corrected by what
// administrators ordered and never earlier than they said, or at rest while an
// order is to lead out of a halt over it (docs/spec/anchor.md section 4).
//
// What the machine says is passed in. A Clock is not safe for use by several
// goroutines.
package clock

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

// Clock is a board's.
type Clock struct {
	machine func() time.Time
	by      string        // who vouches for it: ledger.Clock…, "" as long as nobody does
	shift   time.Duration // what an order corrects the machine by
	floor   time.Time     // it says no less
	held    time.Time     // what it says while it is held, else zero
}

// Correction is a time order that no boot entry accounts for yet.
type Correction struct {
	Index uint64
	At    time.Time // of its entry
	To    time.Time // what it sets the clock to
	Taken bool      // an attest entry says that HEAD took it; else it may have
}

// New makes a clock that says what the machine does. Nobody vouches for it yet.
func New(machine func() time.Time) *Clock { return &Clock{machine: machine} }

// Now is the board's time in whole seconds, which is what entries hold.
func (c *Clock) Now() time.Time {
	if !c.held.IsZero() {
		return c.held
	}
	t := c.machine().UTC().Add(c.shift).Truncate(time.Second)
	switch {
	case t.Before(c.floor):
		return c.floor
	case t.Before(earliest):
		return earliest
	case t.After(latest):
		return latest
	}
	return t
}

// Confirm notes who vouches for the clock.
func (c *Clock) Confirm(by string) { c.by = by }

// Confirmed reports that somebody vouches for it.
func (c *Clock) Confirmed() bool { return c.by != "" }

// Set does what a time order says.
func (c *Clock) Set(to time.Time) {
	c.floor, c.shift, c.held = to, to.Sub(c.machine().UTC()), time.Time{}
}

// Hold has it say one time, until it is set or let go: while an order is to lead out of a
// halt over the clock, entries go on from where they are.
func (c *Clock) Hold(at time.Time) { c.held = at }

// LetGo has it run again, when the order that was to set it came to nothing.
func (c *Clock) LetGo() { c.held = time.Time{} }

// Keep goes on with the correction that the start before went on with, as long as
// the machine's clock runs as it did: ahead, so that the corrected time is not
// behind the log, of which last is the time; or behind, so that without it it is
// not. A time order that HEAD took corrects on, although no boot entry says so
// yet; taken says that HEAD took one that no attest entry names. Boot is the
// newest boot entry, nil if there is none; order may be nil too. It reports
// whether it took a correction over.
func (c *Clock) Keep(boot *ledger.Boot, last time.Time, order *Correction, taken bool) bool {
	if boot == nil {
		return false
	}
	by, ok := ledger.Correction(boot.Clock)
	machine := c.machine().UTC()
	// An order that sets a clock ahead which nothing corrected may have met one that
	// was behind the log: then its entry does not say what that clock said.
	if o := order; o != nil && (o.Taken || taken) && (ok || o.To.Before(o.At)) {
		by, ok = by+o.To.Sub(o.At), true
		if taken {
			last = o.To
		}
	}
	slack := machine.Add(by + noCorrection) // orders and machines have fractions of seconds
	ahead, behind := by < 0 && !slack.Before(last), by > 0 && machine.Before(last)
	if !ok || by.Abs() < keepCorrection || !ahead && !behind {
		return false
	}
	c.shift = by
	if !slack.Before(last) {
		c.floor = last
	}
	return true
}

// Vouched is who vouches for the clock, for a boot entry.
func (c *Clock) Vouched() string {
	if !c.held.IsZero() {
		return ledger.ClockHostUnset
	}
	if c.shift.Abs() < noCorrection {
		return c.by
	}
	return ledger.ClockCorrected(c.shift.Round(time.Second))
}

// Warning is for the operator as long as the machine's clock is wrong, else "".
func (c *Clock) Warning() string {
	if c.shift.Abs() < noCorrection {
		return ""
	}
	return fmt.Sprintf("The machine's clock says %s: administrators corrected it. Set it before the next start.", c.machine().UTC().Format(time.RFC3339))
}
