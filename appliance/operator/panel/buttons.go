package panel

import (
	"context"
	"sync"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
)

// Button is one of the two that a board has.
type Button int

// The buttons.
const (
	ArmButton Button = iota
	DenyButton
)

// Press is a button that was pressed and let go.
type Press struct {
	Button Button
	Held   time.Duration
}

// Fittings are buttons and lamps; package gpio has those on a board's pins.
type Fittings interface {
	// Press waits for a button that is let go. It ends with an error when the
	// fittings are closed or gone.
	Press() (Press, error)
	// Light sets the lamps.
	Light(green, red bool) error
	Close() error
}

// Face is what buttons are put on: a Console or Headless.
type Face interface {
	operator.Panel
	View() operator.View
	Asks() (ask operator.Ask, all bool)
	Key(key byte)
}

// Fit puts buttons and lamps on a panel until ctx ends or they are gone; the
// error says why they are. The buttons are closed then.
//
// ARM turns a request's pages, and arms it once the last one was on the screen;
// DENY denies. ARM held for a second arms nothing; while nothing is asked it opens
// the round that waits longest. While the PIN is asked for, it is entered by counting: ARM as many
// times as the digit says, DENY after each digit; ARM held for a second sends it,
// DENY held begins again.
func Fit(ctx context.Context, face Face, f Fittings, tick <-chan time.Time) error {
	ctx, stop := context.WithCancel(ctx)
	var lamps sync.WaitGroup
	lamps.Go(func() { light(ctx, face, f, tick) })
	watch := context.AfterFunc(ctx, func() { _ = f.Close() }) // ends Press
	err := press(face, f)
	if ctx.Err() != nil {
		err = nil
	}
	if stop(); watch() {
		_ = f.Close()
	}
	lamps.Wait()
	return err
}

// press turns presses into keys until there are no more.
func press(face Face, f Fittings) error {
	var pin counter
	for {
		p, err := f.Press()
		if err != nil {
			return err
		}
		ask, all := face.Asks()
		if ask == operator.AskPIN {
			pin.press(p, face.Key)
			continue
		}
		pin = counter{}
		if p.Button == ArmButton && p.Held >= long {
			// It may have begun before what is asked now was shown: it arms nothing.
			if ask == operator.AskNothing {
				face.Key(openRound)
			}
			continue
		}
		face.Key(meant(p.Button, all))
	}
}

// meant is the key that a button stands for.
func meant(b Button, all bool) byte {
	switch {
	case b == DenyButton:
		return 'd'
	case !all:
		return ' '
	}
	return 'a'
}

const (
	// long is how long a button is held to mean something else.
	long = time.Second
	// maxDigit: who pressed more often has lost count, and begins again.
	maxDigit = 9
	maxPIN   = 8 // SP 800-73-4, 2.4.3

	enter, backspace = '\r', 0x7f
	openRound        = 'o'
)

// counter enters a PIN by two buttons.
type counter struct{ presses int }

func (c *counter) press(p Press, key func(byte)) {
	n := c.presses
	c.presses = 0
	switch {
	case p.Button == DenyButton && p.Held >= long, n >= maxDigit && p.Button == ArmButton && p.Held < long:
		for range maxPIN {
			key(backspace)
		}
	case p.Button == ArmButton && p.Held >= long:
		key(enter)
	case p.Button == ArmButton:
		c.presses = n + 1
	default:
		key('0' + byte(n))
	}
}

// light shows each view's rhythm on the lamps, a step at each tick. Lamps that
// fail are tried again at their next change.
func light(ctx context.Context, face Face, f Fittings, tick <-chan time.Time) {
	var shown struct{ green, red, ok bool }
	for step := 0; ; step = (step + 1) % screen.LampSteps {
		v := face.View()
		l := screen.LampsOf(&v)
		green, red := l.Green[step] == '#', l.Red[step] == '#'
		if !shown.ok || shown.green != green || shown.red != red {
			shown.green, shown.red, shown.ok = green, red, f.Light(green, red) == nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// LampTick is how long a step of a lamp's rhythm lasts.
const LampTick = time.Second / screen.LampSteps
