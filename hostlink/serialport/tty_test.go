package serialport

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// slave is a pty's device, held open, and an open Port on it.
func slave(t *testing.T) (*os.File, *tty) {
	t.Helper()
	master, device, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); device.Close() })
	p, err := Open(device.Name(), DefaultBaud)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return device, p.(*tty)
}

// TestDescriptor: no child inherits the device, with its lock, and a pty is not left exclusive by who is killed.
func TestDescriptor(t *testing.T) {
	device, p := slave(t)
	raw, err := p.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
	if excl, err := unix.IoctlGetInt(int(device.Fd()), unix.TIOCGEXCL); err != nil || excl != 0 {
		t.Errorf("exclusive %d, %v", excl, err)
	}
}

// TestNoControllingTerminal: a daemon without a terminal, as an init system starts it, does not get the line as one: a
// hang-up would kill it.
func TestNoControllingTerminal(t *testing.T) {
	const mark = "TOUCHMARK_TEST_SESSION"
	if os.Getenv(mark) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestNoControllingTerminal$")
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), mark+"=1"), &syscall.SysProcAttr{Setsid: true}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(fmt.Sprintf("/dev/pts/%d", n), DefaultBaud)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if tty, err := os.Open("/dev/tty"); !errors.Is(err, unix.ENXIO) {
		tty.Close()
		t.Errorf("the line became the controlling terminal (%v)", err)
	}
}
