// Package panel has the operator's panels: Console (a full screen: HDMI, a serial
// line, the demo), Lines (one JSON object a line out, one command a line in: for
// scripts and tests) and Headless (nothing to read at all), and the buttons and
// lamps that may stand beside any of them.
//
// A panel never holds the station up: what is slow or gone — a terminal that
// nobody reads, a lamp that fails — is written to by a goroutine of its own, and
// nothing can be armed by what was never written.
package panel

import (
	"sync"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
)

// desk is where views come in and keys are pressed; a screen, buttons and lamps
// are put on it.
type desk struct {
	now      func() time.Time
	commands chan operator.Command
	changed  chan struct{} // holds one: what is on display has changed

	mu   sync.Mutex // guards what follows
	face screen.Face
	gone bool // commands is closed
}

// pressed bounds the commands that wait for the station; what is pressed beyond
// that is lost, as on any keyboard.
const pressed = 16

func newDesk() *desk {
	return &desk{now: time.Now, commands: make(chan operator.Command, pressed), changed: make(chan struct{}, 1)}
}

// Show takes a view; it is drawn later.
func (d *desk) Show(v operator.View) {
	d.mu.Lock()
	d.face.Show(v, d.now())
	d.mu.Unlock()
	d.touch()
}

// Commands delivers what was pressed; it is closed when the operator is gone.
func (d *desk) Commands() <-chan operator.Command { return d.commands }

// View is what is on display.
func (d *desk) View() operator.View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.face.View(d.now())
}

// Key presses a key.
func (d *desk) Key(key byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.touch()
	c, ok := d.face.Press(key, d.now())
	if !ok || d.gone {
		clear(c.PIN)
		return
	}
	select {
	case d.commands <- c:
	default:
		clear(c.PIN)
	}
}

// Asks is what is asked now, and whether all of it was on the screen.
func (d *desk) Asks() (ask operator.Ask, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.face.View(d.now()).Ask, d.face.All()
}

// leave says that the operator is gone.
func (d *desk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.face.Forget()
	if !d.gone {
		d.gone = true
		close(d.commands)
	}
}

func (d *desk) touch() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Headless is a panel without a screen: lamps tell what is asked, buttons answer.
// Nobody sees what is signed, so it is for boards whose requests are approved
// elsewhere; what administrators order, and the time, cannot be agreed to.
type Headless struct{ *desk }

// Leave says that the operator has nothing left to press.
func (h *Headless) Leave() { h.leave() }

// NewHeadless makes one; put buttons on it.
func NewHeadless() *Headless {
	h := &Headless{newDesk()}
	h.face.Blind = true
	return h
}
