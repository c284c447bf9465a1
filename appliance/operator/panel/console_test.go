package panel

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
)

// clock is a panel's, and belongs to the test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// rig is a console whose terminal, clock and ticks belong to the test.
type rig struct {
	*Console
	clock
	tick chan time.Time
	keys *io.PipeWriter
}

func newRig(t *testing.T, out io.Writer) *rig {
	in, keys := io.Pipe()
	r := &rig{clock: clock{at: time.Unix(1.8e9, 0)}, tick: make(chan time.Time), keys: keys}
	r.Console = newConsole(in, out, func() (int, int) { return 80, 24 })
	r.Console.now = r.clock.now
	go r.paint(r.tick, nil)
	t.Cleanup(func() {
		_ = keys.Close()
		for range r.Commands() { // until the reader has ended
		}
		close(r.quit)
		<-r.painted
	})
	return r
}

// drawn waits until what was shown is on the terminal: of two ticks the painter
// takes the second only when it has drawn after the first.
func (r *rig) drawn() { r.tick <- time.Time{}; r.tick <- time.Time{} }

func (r *rig) waiting() int { return len(r.Console.commands) }

func TestConsoleArmsWhatWasDrawn(t *testing.T) {
	r := newRig(t, io.Discard)
	r.Show(shown())
	r.drawn()
	r.Key('a')
	if r.waiting() > 0 {
		t.Fatal("armed at once")
	}
	r.pass(screen.Reflexes)
	_, _ = r.keys.Write([]byte("a"))
	if c := <-r.Commands(); c.Verb != operator.Arm || c.Job != shown().Job.ID {
		t.Fatalf("%+v", c)
	}
}

// A terminal that takes nothing (XOFF, a line that is not read) holds nobody up,
// and what it never showed cannot be armed.
func TestATerminalThatTakesNothing(t *testing.T) {
	stuck, out := io.Pipe()
	r := newRig(t, out)
	for range 100 {
		r.Show(shown())
	}
	r.pass(time.Hour)
	r.Key('a')
	if r.waiting() > 0 {
		t.Fatal("armed, and nobody can have seen it")
	}
	go func() { _, _ = io.Copy(io.Discard, stuck) }()
	r.drawn()
	r.pass(screen.Reflexes)
	r.Key('a')
	if c := <-r.Commands(); c.Verb != operator.Arm {
		t.Fatalf("%+v", c)
	}
}

// What the kernel took for a slow line is on no screen yet.
func TestWhatIsStillOnTheLineIsNotShown(t *testing.T) {
	r := &rig{clock: clock{at: time.Unix(1.8e9, 0)}}
	in, keys := io.Pipe()
	defer keys.Close()
	r.Console = newConsole(in, io.Discard, func() (int, int) { return 80, 24 })
	r.Console.now = r.clock.now
	r.Show(shown())
	r.Console.drain = func() error {
		if _, all := r.Asks(); all {
			t.Error("read, before it has left the machine")
		}
		return nil
	}
	r.draw()
	if _, all := r.Asks(); !all {
		t.Error("not read, though it is there")
	}
	r.Console.drain = func() error { return errors.New("hung up") }
	r.Show(operator.View{Ask: operator.AskTime})
	r.draw()
	if _, all := r.Asks(); all {
		t.Error("read on a line that was hung up")
	}
}

// failing is a terminal that was unplugged.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestABrokenTerminalArmsNothing(t *testing.T) {
	r := newRig(t, failing{})
	r.Show(shown())
	r.drawn()
	r.pass(time.Hour)
	r.Key('a')
	if r.waiting() > 0 {
		t.Fatal("armed, and nobody can have seen it")
	}
}

// When the keyboard is gone the operator is gone, with the half of a PIN.
func TestTheOperatorIsGoneWithTheTerminal(t *testing.T) {
	r := newRig(t, io.Discard)
	r.Show(operator.View{Ask: operator.AskPIN})
	_, _ = r.keys.Write([]byte("12"))
	_ = r.keys.CloseWithError(errors.New("input/output error"))
	if c, open := <-r.Commands(); open {
		t.Fatalf("%+v", c)
	}
	r.Key('3')
	r.Key('\r')
	r.Show(shown()) // the station may not have noticed yet
	r.leave()       // neither may the buttons
}

// Keys pressed faster than the station obeys are lost, and hold nobody up.
func TestKeysBeyondWhatIsWaitedForAreLost(t *testing.T) {
	r := newRig(t, io.Discard)
	r.Show(shown())
	for range 10 * pressed {
		r.Key('d')
	}
	if got := r.waiting(); got != pressed {
		t.Errorf("%d commands wait", got)
	}
}

// On a real terminal of a real kernel: raw mode, its size, a change of it, and
// everything back when it ends.
func TestConsoleOnAPseudoTerminal(t *testing.T) {
	t.Setenv("TERM", "vt100")
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	if err := pty.Setsize(theirs, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	c, restore, err := OpenConsole(theirs, theirs)
	if err != nil {
		t.Fatal(err)
	}
	text := make(chan string)
	go func() {
		defer close(text)
		for buf := make([]byte, 4096); ; {
			n, err := ours.Read(buf)
			if text <- string(buf[:n]); err != nil {
				return
			}
		}
	}()
	await := func(words string) {
		var all strings.Builder
		for !strings.Contains(all.String(), words) {
			s, ok := <-text
			if !ok {
				t.Fatalf("no %q on %q", words, all.String())
			}
			all.WriteString(s)
		}
	}
	c.Show(shown())
	await("a = arm")
	if err := pty.Setsize(theirs, &pty.Winsize{Rows: 10, Cols: 30}); err != nil {
		t.Fatal(err)
	}
	await("Make this terminal 40")
	if _, err := ours.Write([]byte("a\x0cd")); err != nil {
		t.Fatal(err)
	}
	if c := <-c.Commands(); c.Verb != operator.Deny {
		t.Errorf("%+v on a display that shows nothing", c)
	}
	restored := make(chan struct{})
	go func() { defer close(restored); restore() }()
	await("\x1b[?25h")
	<-restored // it has let go of the terminal, which is closed next
}
