package panel

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
)

// pins are fittings that a test presses and looks at.
type pins struct {
	presses chan Press
	lit     chan [2]bool
	once    sync.Once
	closed  chan struct{}
	gone    chan error
}

func newPins() *pins {
	return &pins{presses: make(chan Press), lit: make(chan [2]bool, 1000), closed: make(chan struct{}), gone: make(chan error)}
}

func (p *pins) Press() (Press, error) {
	select {
	case b := <-p.presses:
		return b, nil
	case err := <-p.gone:
		return Press{}, err
	case <-p.closed:
		return Press{}, errors.New("closed")
	}
}

func (p *pins) Light(green, red bool) error { p.lit <- [2]bool{green, red}; return nil }

func (p *pins) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// fitted is a headless panel with buttons on it.
type fitted struct {
	*Headless
	*pins
	clock
	tick chan time.Time
	err  chan error
	stop context.CancelFunc
}

func fit(t *testing.T) *fitted {
	ctx, stop := context.WithCancel(t.Context())
	f := &fitted{Headless: NewHeadless(), pins: newPins(), clock: clock{at: time.Unix(1.8e9, 0)}, tick: make(chan time.Time), err: make(chan error, 1), stop: stop}
	f.Headless.now = f.clock.now
	go func() { f.err <- Fit(ctx, f.Headless, f.pins, f.tick) }()
	t.Cleanup(stop)
	return f
}

func (f *fitted) arm()  { f.presses <- Press{Button: ArmButton} }
func (f *fitted) deny() { f.presses <- Press{Button: DenyButton} }

func TestButtonsArmAndDeny(t *testing.T) {
	f := fit(t)
	f.Show(shown())
	f.arm() // too early
	f.deny()
	if c := <-f.Commands(); c.Verb != operator.Deny || c.Job != shown().Job.ID {
		t.Fatalf("%+v", c)
	}
	f.pass(screen.Reflexes)
	f.arm()
	if c := <-f.Commands(); c.Verb != operator.Arm || c.Job != shown().Job.ID {
		t.Fatalf("%+v", c)
	}
	v := shown()
	v.Job, v.Order = nil, &operator.Order{ID: strings.Repeat("cd", 32), Kind: "close"}
	f.Show(v)
	f.pass(time.Hour)
	f.arm()
	f.deny()
	if c := <-f.Commands(); c.Verb != operator.Deny {
		t.Fatalf("%+v: nobody can have read the order", c)
	}
}

// Beside a screen the ARM button turns pages before it arms.
func TestButtonsBesideAScreenTurnPages(t *testing.T) {
	r := newRig(t, discard{})
	v := shown()
	for len(v.Job.Items) < 6 {
		v.Job.Items = append(v.Job.Items, v.Job.Items[0])
	}
	r.Show(v)
	turned := 0
	for range 20 {
		r.drawn()
		r.pass(screen.Reflexes)
		_, all := r.Asks()
		if meant(ArmButton, all) == ' ' {
			turned++
		}
		r.Key(meant(ArmButton, all))
		if r.waiting() > 0 {
			break
		}
	}
	if c := <-r.Commands(); c.Verb != operator.Arm || turned < 1 {
		t.Fatalf("%+v after %d pages", c, turned)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// Without a screen, ARM held while nothing is asked opens the round that waits
// longest. Held while a request is asked about, it does nothing: the request may
// have come in between.
func TestButtonsOpenARound(t *testing.T) {
	f := fit(t)
	held := Press{Button: ArmButton, Held: long}
	v := operator.View{State: "ready", Token: "ready", Rounds: []operator.Round{{Rule: "extra", State: "open"}, {Rule: "core", State: "waiting"}}}
	f.Show(v)
	f.arm() // briefly: nothing
	f.presses <- held
	if c := <-f.Commands(); c.Verb != operator.Open || c.Rule != "core" {
		t.Fatalf("%+v", c)
	}
	v.Job, v.Ask = shown().Job, operator.AskArm
	f.Show(v)
	f.pass(screen.Reflexes)
	f.presses <- held
	f.deny()
	if c := <-f.Commands(); c.Verb != operator.Deny {
		t.Fatalf("%+v", c)
	}
	f.arm()
	if c := <-f.Commands(); c.Verb != operator.Arm || c.Job != v.Job.ID {
		t.Fatalf("%+v", c)
	}
}

// PIN 203, entered by counting, with a slip that is taken back.
func TestAPINByTwoButtons(t *testing.T) {
	f := fit(t)
	f.Show(operator.View{Ask: operator.AskPIN})
	digit := func(n int) {
		for range n {
			f.arm()
		}
		f.deny()
	}
	digit(7)
	f.presses <- Press{Button: DenyButton, Held: long} // begin again
	digit(2)
	digit(0)
	digit(3)
	f.presses <- Press{Button: ArmButton, Held: long}
	if c := <-f.Commands(); c.Verb != operator.PIN || string(c.PIN) != "203" {
		t.Fatalf("%+v: %q", c, c.PIN)
	}
	digit(4)
	for range maxDigit + 1 { // lost count: everything is begun again
		f.arm()
	}
	digit(9)
	f.presses <- Press{Button: ArmButton, Held: long}
	if c := <-f.Commands(); string(c.PIN) != "9" {
		t.Fatalf("%q", c.PIN)
	}
}

func TestLampsShowTheRhythm(t *testing.T) {
	f := fit(t)
	f.Show(operator.View{Ask: operator.AskTouch, Order: &operator.Order{}})
	<-f.lit // as it was before it was shown, or after: the next are after
	for range 2 * screen.LampSteps {
		f.tick <- time.Time{}
	}
	f.stop()
	if err := <-f.err; err != nil {
		t.Errorf("an end that was asked for: %v", err)
	}
	close(f.lit)
	var green []bool
	for l := range f.lit {
		if l[1] {
			t.Error("the lamp that says stop is on")
		}
		green = append(green, l[0])
	}
	if len(green) < screen.LampSteps || slices.Contains(green[1:], green[0]) && green[0] == green[1] {
		t.Errorf("green: %v", green)
	}
}

func TestButtonsThatAreGone(t *testing.T) {
	f := fit(t)
	gone := errors.New("no such device")
	f.gone <- gone
	if err := <-f.err; !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	<-f.closed
	f.Leave()
	if _, open := <-f.Commands(); open {
		t.Error("somebody is still there")
	}
}
