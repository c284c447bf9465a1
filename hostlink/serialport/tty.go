package serialport

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tty is an open serial device. Reads and writes go through the runtime's
// poller, so that Close and deadlines end them.
type tty struct {
	*os.File
}

// openTTY opens, claims and sets up a device. All of it happens on one
// descriptor: a name that meanwhile means another device does not matter.
func openTTY(path string, baud int) (*tty, error) {
	if baud < 1 || baud > MaxBaud {
		return nil, fmt.Errorf("baud rate %d is not between 1 and %d", baud, MaxBaud)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openCause(err)
	}
	if err := claim(fd, baud); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &tty{os.NewFile(uintptr(fd), path)}, nil
}

// claim locks the device and sets its line up.
func claim(fd, baud int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS2); err != nil {
		return openCause(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrBusy
	}
	if err := setLine(fd, baud); err != nil {
		return err
	}
	if isPTY(fd) {
		return nil
	}
	// Keeps the casual cat of another user away as well.
	return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0)
}

// setLine makes the line raw 8N1 at a rate, and looks what became of it: a
// driver that cannot run at a rate takes another without an error.
func setLine(fd, baud int) error {
	raw := rawLine(baud)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, &raw); err != nil {
		return openCause(err)
	}
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return openCause(err)
	}
	if off := int(got.Ospeed) - baud; max(off, -off) > baud/rateTolerance {
		return &RateError{Want: baud, Got: int(got.Ospeed)}
	}
	return nil
}

// rawLine is the whole setting, nothing of what was before: every byte passes
// both ways as it is, a read returns as soon as there is one byte, no flow
// control, modem lines ignored. BOTHER takes any rate as a number (termios(3),
// ioctl_tty(2)); input runs at the same. Without HUPCL closing leaves DTR as it
// is, which resets the boards of those who wired it so.
func rawLine(baud int) unix.Termios {
	t := unix.Termios{
		Cflag:  unix.CS8 | unix.CREAD | unix.CLOCAL | unix.BOTHER,
		Ispeed: uint32(baud),
		Ospeed: uint32(baud),
	}
	t.Cc[unix.VMIN] = 1
	return t
}

// Close ends a blocked Read or Write and releases the device. What was written
// has until then to leave; after that it is thrown away, for close(2) would
// wait up to half a minute for a line that takes nothing (closing_wait of the
// kernel's tty drivers).
func (t *tty) Close() error {
	deadline := time.Now().Add(farewell)
	for t.unsent() > 0 {
		if time.Now().After(deadline) {
			t.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH) })
			break
		}
		time.Sleep(drainStep)
	}
	return t.File.Close()
}

// unsent is how many bytes the driver holds; 0 if it cannot say.
func (t *tty) unsent() (n int) {
	t.control(func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		return err
	})
	return n
}

// control runs an ioctl while nobody can close the descriptor.
func (t *tty) control(ioctl func(fd int) error) error {
	conn, err := t.SyscallConn()
	if err != nil {
		return err
	}
	if closed := conn.Control(func(fd uintptr) { err = ioctl(int(fd)) }); closed != nil {
		return closed
	}
	return err
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
