package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
)

// TestSlowStick: a stick that does not let itself be mounted, or be written, holds up nobody who looks.
func TestSlowStick(t *testing.T) {
	asked, release, disks := make(chan string), make(chan error), t.TempDir()
	s := &Sticks{blocks: disks, mountAt: func(device string, flags uintptr) error {
		asked <- fmt.Sprint(device, " ", flags&unix.MS_RDONLY != 0)
		return <-release
	}}
	ok(t, os.Mkdir(filepath.Join(disks, "sda1"), 0o755))
	until := func(want func(boot.Stick) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !want(s.Look()); {
			if time.Now().After(end) {
				t.Fatalf("never seen; there is %+v", s.Look())
			}
		}
	}
	nothing := func(when string) {
		t.Helper()
		for range 100 {
			if got := s.Look(); got.Present {
				t.Fatalf("%s: %+v", when, got)
			}
		}
	}
	s.Look()
	if got := <-asked; got != "/dev/sda1 true" {
		t.Fatal(got)
	}
	nothing("while it is being mounted")
	write := s.Writable(true) // waits for the mount, and nobody for it
	nothing("while somebody wants to write to it")
	release <- errors.New("no such file system")
	for done := false; !done; { // looks come before and after it, as they like
		select {
		case what := <-asked:
			release <- nil
			done = what == " false"
		default:
			s.Look()
		}
	}
	ok(t, <-write)
	until(func(b boot.Stick) bool {
		select {
		case <-asked:
			release <- nil
		default:
		}
		return b.Present
	})
	ok(t, os.Remove(filepath.Join(disks, "sda1")))
	until(func(b boot.Stick) bool { return !b.Present })
}

// terminal is a new terminal and who sits at it.
func terminal(t *testing.T) (person *os.File, path string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	ok(t, err)
	ok(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	ok(t, err)
	person = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { _ = person.Close() })
	return person, fmt.Sprintf("/dev/pts/%d", number)
}

// TestStoppedTerminal: a terminal that somebody stopped (Ctrl-S) goes on when the first process speaks there.
func TestStoppedTerminal(t *testing.T) {
	person, path := terminal(t)
	before, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	ok(t, err)
	defer unix.Close(before)
	_, err = person.Write([]byte{'S' & 0x1f})
	ok(t, err)
	for { // until the kernel has heard it
		if _, err := unix.Write(before, []byte("x")); errors.Is(err, unix.EAGAIN) {
			break
		}
		ok(t, err)
		_, err := person.Read(make([]byte, 100))
		ok(t, err)
	}
	console, err := OpenConsole(path, true)
	ok(t, err)
	ok(t, Say(console, "first\nsecond"))
	var heard strings.Builder
	for b := make([]byte, 100); !strings.Contains(heard.String(), "second\r\n"); {
		n, err := person.Read(b)
		ok(t, err)
		heard.Write(b[:n])
	}
	if want := "\r\nTouchmark: first\r\n           second\r\n"; !strings.HasSuffix(heard.String(), want) {
		t.Errorf("%q", heard.String())
	}
}

// TestDeafTerminal: one that takes nothing is not waited for.
func TestDeafTerminal(t *testing.T) {
	_, path := terminal(t)
	console, err := OpenConsole(path, false)
	ok(t, err)
	if err := Say(console, strings.Repeat("x", 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if _, err := OpenConsole(filepath.Join(t.TempDir(), "none"), false); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := OpenConsole("/dev/null", false); err == nil {
		t.Error("no terminal, and opened as one")
	}
}

func TestWithin(t *testing.T) {
	if !Within(time.Hour, func() {}) {
		t.Error("what was done was not waited for")
	}
	forever := make(chan struct{})
	defer close(forever)
	if Within(time.Nanosecond, func() { <-forever }) {
		t.Error("what is never done was")
	}
}
