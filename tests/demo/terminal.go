package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"touchmark/appliance/operator"
)

// terminal is the person's screen and keyboard. Keys come one at a time without echo; Ctrl-C still interrupts, and output
// is as on any terminal, so that narration and the operator's display can share the screen.
type terminal struct {
	out     *os.File
	in      *os.File
	saved   unix.Termios
	keys    chan byte
	painted int  // lines of the display now on screen, to be painted over
	page    int  // of a job that does not fit; the space bar turns it
	all     bool // every page of the job has been on the screen: it may be armed
	job     string
}

// openTerminal prepares the terminal; it returns nil if there is none to talk to.
func openTerminal(in, out *os.File) (*terminal, error) {
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil, nil
	}
	saved, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	raw := *saved
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	t := &terminal{out: out, in: in, saved: *saved, keys: make(chan byte)}
	go t.read()
	return t, nil
}

// Restore gives the terminal back as it was found.
func (t *terminal) Restore() error {
	if t == nil {
		return nil
	}
	return unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &t.saved)
}

// read delivers keys for as long as the program runs: a read of a terminal cannot be called back.
func (t *terminal) read() {
	buf := make([]byte, 16)
	for {
		n, err := t.in.Read(buf)
		for _, b := range buf[:n] {
			t.keys <- b
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			close(t.keys)
			return
		}
	}
}

const (
	leastWidth, leastHeight = 60, 16
	mostWidth               = 100
)

// Paint shows the operator's display in a frame, over the one painted before it.
func (t *terminal) Paint(v operator.View) error {
	if id := requestID(v); id != t.job {
		t.job, t.page, t.all = id, 0, false
	}
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	width, height = min(max(width, leastWidth), mostWidth), max(height, leastHeight)
	shown, pages := operator.Render(v, width-8, height-4, t.page)
	t.page = min(t.page, pages-1)
	t.all = t.all || requestID(v) != "" && t.page == pages-1
	lines := frame(shown, width-8, keyLine(v, t.all))
	var b strings.Builder
	if t.painted > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.painted)
	}
	for _, l := range lines {
		b.WriteString("   " + l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	t.painted = len(lines)
	_, err = io.WriteString(t.out, b.String())
	return err
}

// Leave keeps the last display on screen and goes on below it.
func (t *terminal) Leave() { t.painted = 0 }

// requestID is that of the job or of the administrators' order on display, if there is one.
func requestID(v operator.View) string {
	switch {
	case v.Job != nil:
		return v.Job.ID
	case v.Order != nil:
		return v.Order.ID
	}
	return ""
}

// frame draws the display's edge, which tells the board's words from the demo's, with the keys below.
func frame(lines []string, width int, keys string) []string {
	out := make([]string, 0, len(lines)+3)
	out = append(out, "+-"+strings.Repeat("-", width)+"-+")
	for _, l := range lines {
		out = append(out, "| "+l+strings.Repeat(" ", max(0, width-len(l)))+" |")
	}
	out = append(out, "+-"+strings.Repeat("-", width)+"-+")
	return append(out, keys)
}

// keyLine says which keys do something now; a job is armed only when all of it has been seen.
func keyLine(v operator.View, all bool) string {
	keys := map[operator.Ask]string{
		operator.AskArm:   "keys: a = arm   d = deny   (Ctrl-C ends the demo)",
		operator.AskTouch: "keys: t = touch the token   d = deny",

		operator.AskUnmirrored: "keys: u = go on unmirrored   d = deny   (Ctrl-C ends the demo)",
	}[v.Ask]
	if (v.Ask == operator.AskArm || v.Ask == operator.AskUnmirrored) && !all {
		keys = "keys: space = next page   d = deny   (Ctrl-C ends the demo)"
	}
	return bold + keys + reset
}
