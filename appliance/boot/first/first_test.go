package first

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/boot"
	"touchmark/appliance/boot/machine"
	"touchmark/appliance/keeper"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// started is a board whose command line has these words.
func started(t *testing.T, words string) *board {
	t.Helper()
	o, err := boot.ParseOptions(words)
	ok(t, err)
	return &board{options: o, watchdog: &machine.Watchdog{}}
}

// TestCoreArgs: the core is told what the command line says of its devices, where it cannot know it, and what went wrong.
func TestCoreArgs(t *testing.T) {
	b := started(t, "touchmark.link=/dev/ttyAMA1 touchmark.baud=57600 touchmark.board=rpi4 touchmark.buttons=/dev/gpiochip0:arm=17,deny=27,green=22,red=23")
	b.slot = 3
	b.tell("One thing.")
	b.note(errors.New("another\nthing"))
	args := b.coreArgs()
	for _, want := range []string{
		"--device=/dev/ttyAMA1", "--baud=57600", "--card=/dev/mmcblk0", "--board=rpi4", "--slot=B", "--measured=3", "--lock-platform",
		"--buttons=/dev/gpiochip0:arm=17,deny=27,green=22,red=23", "--notice=One thing. another; thing.",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%q lacks %s", args, want)
		}
	}
	b = started(t, "touchmark.link=gadget")
	for _, arg := range b.coreArgs() {
		for _, not := range []string{"--card", "--board", "--slot", "--buttons", "--notice"} {
			if strings.HasPrefix(arg, not+"=") {
				t.Errorf("%s, of which the command line says nothing", arg)
			}
		}
	}
}

// TestCoreProfile: the core is started with its files and devices and no more, as its user.
func TestCoreProfile(t *testing.T) {
	b := started(t, "touchmark.link=gadget touchmark.board=rpi4 touchmark.buttons=/dev/gpiochip0:arm=17,deny=27,green=22,red=23")
	p := b.coreProfile()
	if p.User == nil || p.User.UID != machine.CoreID || p.User.GID != machine.CoreID || p.Children || p.UnixSockets || len(p.Execute) != 0 {
		t.Errorf("%+v", p)
	}
	if want := []string{machine.BoardDir, machine.RunDir}; !slices.Equal(p.Write, want) {
		t.Errorf("it writes below %q, not %q", p.Write, want)
	}
	if want := []string{"/dev/bus/usb", machine.TPM, "/dev/mmcblk0", "/dev/gpiochip0"}; !slices.Equal(p.Devices, want) {
		t.Errorf("its devices are %q, not %q", p.Devices, want)
	}
	if p := started(t, "touchmark.link=gadget").coreProfile(); len(p.Devices) != 2 {
		t.Errorf("without card and buttons its devices are %q", p.Devices)
	}
}

// TestNoKeeper: where the link's program is not there the core is started all the same, and told why it hears no host.
func TestNoKeeper(t *testing.T) {
	if _, err := os.Stat("/" + boot.Link); err == nil {
		t.Skip("this machine has one")
	}
	p := machine.Program{Errors: os.Stderr}
	started(t, "touchmark.link=/dev/null").keep(&p)
	if len(p.More) != 0 || len(p.Env) != 1 || !strings.HasPrefix(p.Env[0], keeper.None+"=starting the keeper") {
		t.Errorf("%q, %d files", p.Env, len(p.More))
	}
}

// TestStartFails: that a child cannot be started is its end, with the reason as its last words.
func TestStartFails(t *testing.T) {
	b := started(t, "touchmark.link=gadget touchmark.console=/dev/null/none")
	b.start(machine.Program{Argv: []string{"/no/such"}}, true)
	if code := <-b.child.ending(); code != 1 || !strings.Contains(b.child.last(), "the operator's terminal") {
		t.Errorf("code %d, %q", code, b.child.last())
	}
	b.child.stop() // of what never ran
}

// TestLastWords: of what a child says its last lines are kept, each up to a bound.
func TestLastWords(t *testing.T) {
	r, w, err := os.Pipe()
	ok(t, err)
	c := &child{logged: make(chan struct{})}
	go c.follow(r)
	for i := range 2 * keptLine {
		_, err = fmt.Fprintf(w, "line %d\n\n", i)
		ok(t, err)
	}
	_, err = io.WriteString(w, strings.Repeat("x", 3*maxLine+5)+"\nthe end\n")
	ok(t, errors.Join(err, w.Close()))
	lines := strings.Split(c.last(), "\n")
	if len(lines) != keptLine || lines[keptLine-1] != "the end" || lines[0] != fmt.Sprint("line ", 2*keptLine-3) || lines[keptLine-2] != "xxxxx" {
		t.Errorf("%.100q", lines)
	}
	for _, l := range lines {
		if len(l) > maxLine {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
}

// TestNoTPM: of a TPM that does not answer the operator is told, whatever comes of it.
func TestNoTPM(t *testing.T) {
	if _, err := os.Stat(machine.TPM); err == nil {
		t.Skip("this machine has one")
	}
	b := started(t, "touchmark.link=gadget")
	if b.lockTPM(); len(b.notices) != 1 || !strings.Contains(b.notices[0], "could not be replaced at once") {
		t.Errorf("%q", b.notices)
	}
}

// TestWithin: what is brought up aside is done when within returns.
func TestWithin(t *testing.T) {
	b := started(t, "touchmark.link=gadget")
	done := false
	b.within(time.Hour, "nothing", func() { done = true })
	if !done {
		t.Error("it was not waited for")
	}
}

// TestAnswers: a stick that answers, or never does, has what follows done once.
func TestAnswers(t *testing.T) {
	b := started(t, "touchmark.link=gadget")
	if b.remounted() != nil {
		t.Error("a stick is waited for that nothing was asked of")
	}
	var got []error
	answer := make(chan error, 1)
	b.remount = &remount{answer, time.Now(), func(err error) { got = append(got, err) }}
	if b.remounted() == nil {
		t.Error("it is not waited for")
	}
	b.afterRemount(errSlowStick)
	if len(got) != 1 || got[0] != errSlowStick || b.remount != nil {
		t.Errorf("%v, %v", got, b.remount)
	}
	for code, words := range map[int]string{0: "is done", 3: "code 3. The same stick goes on"} {
		if !strings.Contains(outcome(code), words) {
			t.Error(outcome(code))
		}
	}
}
