package serialport

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tty is an open serial device. Reads and writes go through the runtime's
// poller, so that Close and deadlines end them.
type tty struct {
	file *os.File
	busy sync.RWMutex // held for reading by Read and Write, for writing by Close
}

func (t *tty) Read(p []byte) (int, error) {
	t.busy.RLock()
	defer t.busy.RUnlock()
	return t.file.Read(p)
}

func (t *tty) Write(p []byte) (int, error) {
	t.busy.RLock()
	defer t.busy.RUnlock()
	return t.file.Write(p)
}

// SetWriteDeadline bounds a Write, also one in progress.
func (t *tty) SetWriteDeadline(at time.Time) error { return t.file.SetWriteDeadline(at) }

// Close ends a blocked Read or Write and releases the device. The kernel lets
// the driver send what it holds, but waits for up to half a minute in close(2)
// if the line takes nothing. A signal to the thread ends that wait, and what is
// left is thrown away; SIGURG means nothing to a Go program.
func (t *tty) Close() error {
	t.file.SetDeadline(time.Unix(1, 0)) // fails on a closed file, where nothing blocks
	t.busy.Lock()
	defer t.busy.Unlock()
	thread, closed := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		closed <- t.file.Close()
	}()
	tid := <-thread
	for {
		select {
		case err := <-closed:
			return err
		case <-time.After(farewell):
			unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
		}
	}
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
	return &tty{file: os.NewFile(uintptr(fd), path)}, nil
}

// claim locks the device and sets its line up.
func claim(fd, baud int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS2); err != nil {
		return openCause(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return busy(fd)
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
// driver that cannot run at a rate takes another without an error. One that
// takes no rate at all, as of a gadget's port (ttyGS), has no line to run.
func setLine(fd, baud int) error {
	got, err := setRate(fd, baud)
	if err != nil || near(got, baud) {
		return err
	}
	if other, err := setRate(fd, everyUARTsRate); err != nil || other != everyUARTsRate {
		return err
	}
	return &RateError{Want: baud, Got: got}
}

// setRate sets the line and returns the rate that the driver took.
func setRate(fd, baud int) (int, error) {
	raw := rawLine(baud)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, &raw); err != nil {
		return 0, openCause(err)
	}
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return 0, openCause(err)
	}
	return int(got.Ospeed), nil
}

func near(got, want int) bool {
	off := got - want
	return max(off, -off) <= want/rateTolerance
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
