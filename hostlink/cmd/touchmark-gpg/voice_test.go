package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/hostd/api"
)

// TestTerminalIsTold: a person whose tool swallows standard error is told on his terminal what goes on and why nothing was
// signed; who says not to is told nothing, and what is no terminal is not written to.
func TestTerminalIsTold(t *testing.T) {
	const happens = "touchmark-gpg: on the appliance's display: waiting for the operator\r\ntouchmark-gpg: the file a\\x1b[2J.db: no; twice\r\n"
	for _, c := range []struct {
		what, env, option string
		args              []string
		told              string
	}{
		{"GPG_TTY", "TTY", "", nil, happens},
		{"GPG_TTY, whatever --no-tty is about", "TTY", "", []string{"--no-tty"}, happens},
		{"--ttyname before GPG_TTY", os.DevNull, "--ttyname", nil, happens},
		{"another terminal named", "TTY", "", []string{"--ttyname", os.DevNull}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			person, name := terminal(t)
			t.Setenv("GPG_TTY", strings.ReplaceAll(c.env, "TTY", name))
			if c.option != "" {
				c.args = append(c.args, c.option, name)
			}
			var errs strings.Builder
			v := voice{name: "gpg", errs: &errs}
			v.hear(must(gpgcompat.Parse(append(c.args, "-b", "file"))))
			v.event(&api.Event{State: "accepted"})
			v.event(&api.Event{State: "shown"})
			v.fail("the file %s: no\ntwice", "a\x1b[2J.db")
			if got := whatCame(t, person, name); got != c.told {
				t.Errorf("%q", got)
			}
			if errs.String() != "gpg: the file a\\x1b[2J.db: no; twice\n" {
				t.Errorf("%q", errs.String())
			}
		})
	}
}

// TestNoTerminal: without a name there is the process's own terminal, unless the caller wants none.
func TestNoTerminal(t *testing.T) {
	t.Setenv("GPG_TTY", "")
	for option, want := range map[string]string{"--no-tty": "", "--batch": "/dev/tty"} {
		var v voice
		v.hear(must(gpgcompat.Parse([]string{option, "-b", "file"})))
		if v.terminal != want {
			t.Errorf("%s: %q", option, v.terminal)
		}
	}
	c, err := gpgcompat.Parse([]string{"--no-tty", "-s", "file"})
	if err == nil || !c.NoTTY {
		t.Errorf("of a call that is refused: %v, %v", c, err)
	}
}

// TestTerminalIsOnesOwn: what --logger-fd names and the terminal that is standard error get each line once.
func TestTerminalIsOnesOwn(t *testing.T) {
	person, name := terminal(t)
	errs := must(os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0))
	defer func() { _ = errs.Close() }()
	log := filepath.Join(t.TempDir(), "log")
	logger := must(os.Create(log))
	defer func() { _ = logger.Close() }()
	handOver(t, logger)
	v := voice{name: "gpg", errs: errs, terminal: name, log: strconv.Itoa(int(logger.Fd()))}
	v.tell("waiting")
	v.fail("no")
	if got := whatCame(t, person, name); got != "touchmark-gpg: waiting\r\ngpg: no\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(must(os.ReadFile(log))); got != "gpg: no\n" {
		t.Errorf("%q", got)
	}
}

// handOver makes a file look as if whoever started this program had opened it.
func handOver(t *testing.T, f *os.File) {
	t.Helper()
	must(unix.FcntlInt(f.Fd(), unix.F_SETFD, 0))
}

// TestOwnDescriptors: a number that --logger-fd happens to share with a file of the program's own is not written to.
func TestOwnDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	own := must(os.Create(path))
	defer func() { _ = own.Close() }()
	number := strconv.Itoa(int(own.Fd()))
	v := voice{name: "gpg", errs: io.Discard, log: number}
	v.fail("no")
	if got := must(os.ReadFile(path)); len(got) != 0 || handedOver(number) {
		t.Errorf("a file of our own got %q", got)
	}
	handOver(t, own)
	if v.fail("no"); string(must(os.ReadFile(path))) != "gpg: no\n" {
		t.Error("the caller's got nothing")
	}
	for _, bad := range []string{"", "x", "-1", "1000000", "99999999999"} {
		if handedOver(bad) {
			t.Errorf("%q is open", bad)
		}
	}
}

// terminal is a person's side of a terminal, and its name.
func terminal(t *testing.T) (person *os.File, name string) {
	t.Helper()
	person = must(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0))
	t.Cleanup(func() { _ = person.Close() })
	must(0, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	return person, fmt.Sprintf("/dev/pts/%d", must(unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)))
}

// whatCame is what was written to the terminal so far.
func whatCame(t *testing.T, person *os.File, name string) string {
	t.Helper()
	const end = "this is all\r\n"
	last := must(os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0))
	defer func() { _ = last.Close() }()
	must(last.WriteString(strings.ReplaceAll(end, "\r", "")))
	came, some := "", make([]byte, 4096)
	for !strings.HasSuffix(came, end) {
		came += string(some[:must(person.Read(some))])
	}
	return strings.TrimSuffix(came, end)
}
