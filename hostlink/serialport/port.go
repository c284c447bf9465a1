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
	"os"
	"time"

	"go.bug.st/serial"
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

// OpenError says which device could not be opened and why. All are worth
// another try later.
type OpenError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *OpenError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause: ErrAbsent, ErrBusy, ErrAccess, ErrNotTTY or a
// system error.
func (e *OpenError) Unwrap() error { return e.Err }

// Port is an open device. Close ends a blocked Read and Write.
type Port interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// Open opens a serial device raw, 8N1, without flow control, at a baud rate,
// and locks it with flock, which binds root too, unlike TIOCEXCL.
//
// go.bug.st/serial only sets the line up. Its port is not used for the traffic:
// its Write cannot be ended by Close and could then hit a reused descriptor, its
// Read answers a time-out with (0, nil), and its descriptor is inherited by
// child processes. The descriptor kept here is non-blocking and belongs to the
// runtime's poller; the line settings stay as long as it is open.
func Open(path string, baud int) (Port, error) {
	f, err := open(path, baud)
	if err != nil {
		return nil, &OpenError{path, err}
	}
	return f, nil
}

func open(path string, baud int) (*os.File, error) {
	if baud < 1 || baud > maxBaud {
		return nil, fmt.Errorf("baud rate %d is not between 1 and %d", baud, maxBaud)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openCause(err)
	}
	if err := claim(fd, path, baud); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// claim locks the device and sets its line up.
func claim(fd int, path string, baud int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return ErrNotTTY
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrBusy
	}
	if err := configure(path, baud); err != nil {
		return err
	}
	if isPTY(fd) {
		return nil
	}
	// Keeps the casual cat of another user away as well.
	return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0)
}

// configure sets raw 8N1 and the rate. Closing the library's port again leaves
// the settings and clears its TIOCEXCL.
func configure(path string, baud int) error {
	p, err := serial.Open(path, &serial.Mode{BaudRate: baud})
	if err != nil {
		var pe *serial.PortError
		if errors.As(err, &pe) && pe.Code() == serial.PortBusy {
			return ErrBusy
		}
		return openCause(err)
	}
	return p.Close()
}

// isPTY tells a pseudo-terminal slave (majors 136 to 143, Linux devices.txt).
// TIOCEXCL on one would outlast a killed process, as whoever made the pair
// holds it open.
func isPTY(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	major := unix.Major(st.Rdev)
	return major >= 136 && major <= 143
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
