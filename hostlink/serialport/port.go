// Package serialport puts a link session on a serial device.
//
// [Open] gives a configured, exclusively held device whose reads and writes can
// be ended by Close. [Endpoint] keeps a session on a device for ever: it reopens
// what vanished, restarts the session, and reports both in its events. The
// repository host runs one as initiator, the board's link process one as
// responder.
//
// # Guarantees
//
// Nothing polls: reads, writes and timers sleep until there is work. A write
// that the device does not take (no reader, a stuck adapter) blocks one
// goroutine of the endpoint and nothing else; the session's own timers go on
// and report the silence. Everything received passes the bounds of package
// session. No modem line is read or set, so that a pty or a three-wire cable
// will do.
package serialport

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that callers branch on; they come wrapped in *OpenError.
var (
	ErrAbsent = errors.New("serial device is absent: is the cable plugged in and the path right?")
	ErrBusy   = errors.New("serial device is in use by another program")
	ErrAccess = errors.New("no permission to use the serial device: is the user in its group?")
	ErrNotTTY = errors.New("not a serial device")
)

// ErrLost is reported when an open device vanishes or fails.
var ErrLost = errors.New("serial device lost")

// RateError says that the driver runs the line at another rate than asked for.
type RateError struct{ Want, Got int }

// Error implements error.
func (e *RateError) Error() string {
	return fmt.Sprintf("the device cannot run at %d baud (it would run at %d): set a rate it has, the same on both sides", e.Want, e.Got)
}

// OpenError says which device could not be opened and why. All are worth
// another try later.
type OpenError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *OpenError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause: ErrAbsent, ErrBusy (with the holder, if known), ErrAccess, ErrNotTTY, ErrLost, a
// *RateError, an error of usbtty.Finder or a system error.
func (e *OpenError) Unwrap() error { return e.Err }

// Port is an open device. Close ends a blocked Read and Write.
type Port interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// Open opens a serial device raw, 8N1, without flow control, at a baud rate up
// to [MaxBaud], and locks it with flock, which binds root too, unlike TIOCEXCL.
// Errors are *OpenError.
func Open(path string, baud int) (Port, error) {
	t, err := openTTY(path, baud)
	if err != nil {
		return nil, &OpenError{path, err}
	}
	return t, nil
}

// openCause names the errors of open(2) that a user can do something about.
func openCause(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EIO):
		return ErrAbsent
	case errors.Is(err, unix.EBUSY):
		return ErrBusy
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ErrAccess
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EISDIR):
		return ErrNotTTY
	}
	return err
}
