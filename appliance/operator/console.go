package operator

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Console is the full-screen panel on a terminal. Keys: a = arm, d = deny,
// space = the next page, y = the time is right; digits and Enter = the PIN, when
// it is asked for; Ctrl-C = stop the appliance. A job of several pages cannot be
// armed before its last page was on the screen, and no job in the moment in
// which it appears: whoever swaps requests must not get another one armed.
type Console struct {
	out      io.Writer
	size     func() (width, height int)
	now      func() time.Time
	commands chan Command

	mu     sync.Mutex // guards what follows and the screen
	view   View
	since  time.Time // when the job on display appeared
	page   int       // of it
	layout []int     // items on each of its pages
	all    bool      // every page of it has been on the screen
	pin    []byte
}

const (
	// reflexes is how long a request is on display before it can be armed:
	// longer than a finger that is on its way to the key.
	reflexes = time.Second
	// minWidth and minHeight hold the longest item whole, and the prompt.
	minWidth, minHeight = 60, 20
)

// OpenConsole takes over a terminal in raw mode; call restore before exit.
func OpenConsole(in, out *os.File) (c *Console, restore func(), err error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("operator console: %w: run it on a terminal, or use --operator lines", err)
	}
	size := func() (int, int) {
		w, h, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return 80, 24
		}
		return w, h
	}
	c = newConsole(in, out, size)
	restore = func() { _, _ = io.WriteString(out, "\x1b[?25h\r\n"); _ = term.Restore(int(in.Fd()), state) }
	return c, restore, nil
}

func newConsole(in io.Reader, out io.Writer, size func() (int, int)) *Console {
	c := &Console{out: out, size: size, now: time.Now, commands: make(chan Command, 16)}
	go c.read(in)
	return c
}

// Commands delivers what was pressed; it is closed when the terminal is gone.
func (c *Console) Commands() <-chan Command { return c.commands }

// Show redraws the screen.
func (c *Console) Show(v View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if jobID(v) != jobID(c.view) {
		c.page, c.all, c.since = 0, false, c.now()
	}
	if v.Ask != AskPIN {
		clear(c.pin)
		c.pin = nil
	}
	c.view = v
	c.draw()
}

// jobID is the identity of the job or order on display.
func jobID(v View) string {
	switch {
	case v.Order != nil:
		return v.Order.ID
	case v.Job != nil:
		return v.Job.ID
	}
	return ""
}

// draw writes the whole screen in one go: home, each line cleared to its end,
// the rest of the screen cleared, cursor hidden. The caller holds mu.
func (c *Console) draw() {
	w, h := c.size()
	_, layout := render(c.view, w, h-1, 0)
	if !slices.Equal(layout, c.layout) { // items moved between pages: begin again
		c.page, c.all, c.layout = 0, false, layout
	}
	c.page = min(c.page, max(0, len(layout)-1))
	c.all = c.all || c.page >= len(layout)-1
	lines, _ := render(c.view, w, h-1, c.page)
	if w < minWidth || h < minHeight {
		c.all, lines = false, []string{fmt.Sprintf("Make this terminal %d by %d at least.", minWidth, minHeight)}
	}
	if len(c.pin) > 0 {
		lines = append(lines, "PIN: "+strings.Repeat("*", len(c.pin)))
	}
	screen := "\x1b[?25l\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J"
	_, _ = io.WriteString(c.out, screen)
}

func (c *Console) read(in io.Reader) {
	defer close(c.commands)
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		for _, key := range buf[:n] {
			if cmd, ok := c.press(key); ok {
				c.commands <- cmd
			}
		}
		clear(buf)
		if err != nil {
			return
		}
	}
}

// press turns one key into a command, given what the display shows now.
func (c *Console) press(key byte) (Command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case key == 0x03:
		return Command{Verb: Quit}, true
	case key == 'd' && jobID(c.view) != "":
		return Command{Verb: Deny, Job: jobID(c.view)}, true
	case c.view.Ask == AskPIN:
		return c.typePIN(key)
	case key == ' ' && jobID(c.view) != "":
		c.page++
		c.draw()
	case key == 'a' && jobID(c.view) != "" && c.all && c.now().Sub(c.since) >= reflexes:
		return Command{Verb: Arm, Job: jobID(c.view)}, true
	case key == 'u' && c.view.Ask == AskUnmirrored && c.all && c.now().Sub(c.since) >= reflexes:
		return Command{Verb: Unmirrored, Job: jobID(c.view)}, true
	case key == 'y' && c.view.Ask == AskTime:
		return Command{Verb: Time}, true
	case key == 'y' && c.view.Ask == AskConfirm && c.now().Sub(c.since) >= reflexes:
		return Command{Verb: Confirm}, true
	}
	return Command{}, false
}

// typePIN collects a PIN: printable keys, Backspace, Enter. PIV PINs have at
// most eight bytes (SP 800-73-4, 2.4.3). The caller holds mu.
func (c *Console) typePIN(key byte) (Command, bool) {
	switch {
	case key == '\r' || key == '\n':
		pin := c.pin
		c.pin = nil
		return Command{Verb: PIN, PIN: pin}, len(pin) > 0
	case key == 0x7f || key == 0x08:
		if len(c.pin) > 0 {
			c.pin[len(c.pin)-1] = 0
			c.pin = c.pin[:len(c.pin)-1]
		}
	case key > 0x20 && key < 0x7f && len(c.pin) < 8:
		if c.pin == nil {
			c.pin = make([]byte, 0, 8) // never grows, so that no copy of it stays behind
		}
		c.pin = append(c.pin, key)
	}
	c.draw()
	return Command{}, false
}
