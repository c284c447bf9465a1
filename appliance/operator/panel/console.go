package panel

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"touchmark/appliance/operator/screen"
)

// Console is the full-screen panel on a terminal; package screen says what it
// shows and which keys there are.
type Console struct {
	*desk
	out     io.Writer
	size    func() (width, height int)
	drain   func() error // waits until what was written has left the machine
	resized chan os.Signal
	quit    chan struct{} // closed to end the painter
	painted chan struct{} // closed when it has ended
	painter screen.Painter
	height  int
}

const (
	// blink is how often the screen is looked at for what time alone changes: the
	// clock, a countdown, a key that counts by now.
	blink = 250 * time.Millisecond
	// renew is how often all of it is written anew, over what the kernel wrote
	// there, or for a terminal that was connected only now.
	renew = 10 * time.Second
	// parting bounds the wait for a terminal that takes nothing.
	parting = time.Second
)

// OpenConsole takes over a terminal in raw mode; call restore before exit.
func OpenConsole(in, out *os.File) (c *Console, restore func(), err error) {
	saved, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("operator console: %w: run it on a terminal, or use --operator lines", err)
	}
	c = newConsole(in, out, terminalSize(out))
	c.drain = drained(out)
	c.painter.Colour = screen.ColourOf(os.Getenv("TERM"), os.Getenv("NO_COLOR"))
	c.painter.VT = os.Getenv("TERM") == "linux"
	signal.Notify(c.resized, syscall.SIGWINCH)
	go c.paint(ticks(blink), ticks(renew))
	restore = func() {
		signal.Stop(c.resized)
		c.close()
		_ = term.Restore(int(in.Fd()), saved)
	}
	return c, restore, nil
}

func ticks(d time.Duration) <-chan time.Time { return time.NewTicker(d).C }

// terminalSize asks the terminal; a serial line does not know, and is taken for
// what consoles have been since the VT100.
func terminalSize(out *os.File) func() (int, int) {
	return func() (int, int) {
		w, h, err := term.GetSize(int(out.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			return 80, 24
		}
		return w, h
	}
}

// drained waits as tcdrain does: the kernel takes some seconds' worth of what a slow
// line still has to send, and none of that is on the screen yet.
func drained(out *os.File) func() error {
	return func() error {
		for {
			err := unix.IoctlSetInt(int(out.Fd()), unix.TCSBRK, 1)
			if err != unix.EINTR {
				return err
			}
		}
	}
}

// newConsole reads keys already; paint draws.
func newConsole(in io.Reader, out io.Writer, size func() (int, int)) *Console {
	c := &Console{desk: newDesk(), out: out, size: size, drain: func() error { return nil }, resized: make(chan os.Signal, 1), quit: make(chan struct{}), painted: make(chan struct{})}
	go c.read(in)
	return c
}

// close ends the painter, which draws what came last; one that a dead terminal
// holds up is left behind.
func (c *Console) close() {
	close(c.quit)
	select {
	case <-c.painted:
	case <-time.After(parting):
	}
}

// paint draws whenever something changes, until the console is closed. It is the
// only one that writes to the terminal.
func (c *Console) paint(blink, renew <-chan time.Time) {
	defer close(c.painted)
	for {
		select {
		case <-c.changed:
		case <-blink:
		case <-c.resized:
			c.painter.Reset()
		case <-renew:
			c.painter.Renew()
		case <-c.quit:
			c.draw()
			_, _ = io.WriteString(c.out, screen.End)
			return
		}
		c.draw()
	}
}

// draw brings the screen up to date. What could not be written counts as not seen.
func (c *Console) draw() {
	width, height := c.size()
	if width != c.painter.Width || height != c.height {
		c.painter.Reset()
		c.painter.Width, c.height = width, height
	}
	c.mu.Lock()
	f := c.face.Frame(width, height, c.now())
	c.mu.Unlock()
	if b := c.painter.Paint(f); len(b) > 0 {
		_, err := c.out.Write(b)
		if err == nil {
			err = c.drain()
		}
		if err != nil {
			c.painter.Reset()
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.face.Painted(f, c.now())
}

// redraw is the key by which terminals are refreshed (Ctrl-L).
const redraw = 0x0c

func (c *Console) read(in io.Reader) {
	defer c.leave()
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		for _, key := range buf[:n] {
			if key == redraw {
				select {
				case c.resized <- syscall.SIGWINCH:
				default:
				}
				continue
			}
			c.Key(key)
		}
		clear(buf)
		if err != nil {
			return
		}
	}
}
