package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
)

// terminal is the person's screen and keyboard. Keys come one at a time without echo; Ctrl-C still interrupts, and output
// is as on any terminal, so that narration and the operator's display can share the screen.
type terminal struct {
	out     *os.File
	in      *os.File
	saved   unix.Termios
	keys    chan byte
	painted int // lines of the display now on screen, to be painted over
	last    string
	face    screen.Face
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

// The display is as large as a board's console at most, so that the narration before it stays in sight.
const mostWidth, mostHeight = 88, 28

// What the frame and the narration beside it take of the terminal.
const edgeWidth, edgeHeight = 8, 4

// See shows a view from now on.
func (t *terminal) See(v operator.View) error {
	t.face.Show(v, time.Now())
	return t.Paint()
}

// Paint shows the operator's display in a frame, over the one painted before it, if anything on it has changed.
func (t *terminal) Paint() error {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	width, height = min(width, mostWidth)-edgeWidth, min(height, mostHeight)-edgeHeight
	now := time.Now()
	shown := t.face.Frame(width, height, now)
	if shown.Pages == 0 && len(shown.Lines) > 0 {
		shown = tooSmall(width, shown)
	}
	var b strings.Builder
	for _, l := range frame(shown, width, t.keyLine()) {
		b.WriteString("   " + l + "\x1b[K\n")
	}
	if b.String() == t.last && t.painted > 0 {
		return nil
	}
	back := ""
	if t.painted > 0 {
		back = fmt.Sprintf("\x1b[%dA", t.painted)
	}
	t.last, t.painted = b.String(), strings.Count(b.String(), "\n")
	if _, err = io.WriteString(t.out, back+t.last+"\x1b[J"); err == nil {
		t.face.Painted(shown, now)
	}
	return err
}

// tooSmall has a display that is too small to show anything tell how large this terminal must be, not the part of it in
// the frame.
func tooSmall(width int, shown screen.Frame) screen.Frame {
	text := fmt.Sprintf("Make this terminal %d by %d at least.", screen.LeastWidth+edgeWidth, screen.LeastHeight+edgeHeight)
	shown.Lines = make([]screen.Line, len(shown.Lines))
	for i := range shown.Lines {
		n := min(len(text), max(0, width))
		shown.Lines[i], text = screen.Line{Text: text[:n], Style: screen.Bold}, text[n:]
	}
	return shown
}

// Leave keeps the last display on screen and goes on below it.
func (t *terminal) Leave() { t.painted = 0 }

// frame draws the display's edge, which tells the board's words from the demo's, with the demo's keys below.
func frame(f screen.Frame, width int, keys string) []string {
	edge := "+-" + strings.Repeat("-", max(0, width)) + "-+"
	out := []string{edge}
	for _, l := range f.Lines {
		text := l.Text + strings.Repeat(" ", max(0, width-len(l.Text)))
		if l.Style != screen.Plain {
			text = bold + text + reset
		}
		out = append(out, "| "+text+" |")
	}
	return append(out, edge, keys)
}

// keyLine says which keys the demo has beside those that the display names.
func (t *terminal) keyLine() string {
	if t.face.View(time.Now()).Ask == operator.AskTouch {
		return bold + "keys of the demo: t = touch the token   Ctrl-C = end it" + reset
	}
	return bold + "keys of the demo: Ctrl-C = end it" + reset
}
