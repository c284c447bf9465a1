// Package fault sorts what stops a board: halt states with what led to them, and
// commands of the TPM that may succeed when they are tried again.
package fault

import (
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledgerstore"
)

// HaltError is a halt state with what led to it.
type HaltError struct {
	Halt     recovery.Halt
	Why      error // nil if the state says it all
	Observed recovery.Observed
	Decision recovery.Decision
}

// Halted is a halt state that is not about the TPM.
func Halted(h recovery.Halt, why error) *HaltError {
	return &HaltError{Halt: h, Why: why, Decision: recovery.Decision{Halt: h, Committed: -1}}
}

func (e *HaltError) Error() string {
	o := &e.Observed
	text := fmt.Sprintf("%s: %s", e.Halt, e.Halt.Advice())
	switch {
	case e.Why != nil:
		return fmt.Sprintf("%s (%v)", text, e.Why)
	case e.Halt.Resumable():
		return fmt.Sprintf("%s. HEAD %x, PCR %x", text, o.Head, o.PCR)
	}
	return text
}

func (e *HaltError) Unwrap() error { return e.Why }

// ErrClosed is the halt state of a log that administrators ordered to end.
var ErrClosed = Halted(recovery.LogClosed, nil)

// OverClock reports whether a board halted over its clock: a correction of it leads
// out. Halted may be nil.
func OverClock(halted error) bool {
	var c *ClockError
	return errors.As(halted, &c)
}

// LedOut reports whether a mirror or an order may lead out of a halt.
func LedOut(halted error) bool {
	h := HaltOf(halted).Halt
	return h.Resumable() || h == recovery.ClockBehind || h == recovery.ClockAhead
}

// HaltOf gives any error that stops the board its halt state.
func HaltOf(err error) *HaltError {
	var h *HaltError
	var d *past.DamagedError
	var c *ledgerstore.CorruptError
	switch {
	case errors.As(err, &h):
		return h
	case errors.Is(err, past.ErrNoLog):
		return Halted(recovery.NotEnrolled, err)
	case errors.As(err, &d), errors.As(err, &c):
		return Halted(recovery.LogDamaged, err)
	}
	return Halted(recovery.Internal, err)
}

// Unreadable is the halt state of a log that does not give what it holds.
func Unreadable(err error) *HaltError {
	if h := HaltOf(err); h.Halt != recovery.Internal {
		return h
	}
	return Halted(recovery.LogUnreadable, err)
}

// tpmError is a TPM command that failed, which may pass.
type tpmError struct {
	what string
	err  error
}

func (e *tpmError) Error() string { return e.what + ": " + e.err.Error() }
func (e *tpmError) Unwrap() error { return e.err }

// Failed is an error of a TPM command, which may pass.
func Failed(what string, err error) error { return &tpmError{what, err} }

// Passes reports whether it may help to try again.
func Passes(err error) bool {
	var t *tpmError
	return errors.As(err, &t)
}

// ClockError says what is wrong with a clock that the board cannot start with. A time
// order leads out of it.
type ClockError struct {
	Now, Last time.Time // of the clock; of the log's last entry
	Latest    time.Time // what it may say at most; zero if it is behind
}

func (e *ClockError) Error() string {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	if e.Latest.IsZero() {
		return fmt.Sprintf("the clock (%s) is behind the last log entry (%s): set the clock and restart, or have the administrators order a time", stamp(e.Now), stamp(e.Last))
	}
	return fmt.Sprintf("the clock (%s) is too far ahead of the last log entry (%s); by the TPM's clock it is %s at most: set the clock and restart, or have the administrators order the time", stamp(e.Now), stamp(e.Last), stamp(e.Latest))
}
