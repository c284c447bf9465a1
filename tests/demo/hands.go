package main

import (
	"context"
	"fmt"
	"time"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// board is what hands hold: the panel and the token, here or in another process.
type board interface {
	Views() *world.Views
	Operator(line string) error
	Touch(ctx context.Context) error
}

// here is the board of a world in this process.
type here struct{ *world.World }

// Touch touches the emulated token.
func (h here) Touch(ctx context.Context) error { return h.Token.Touch(ctx) }

// hands are the operator's: they see each view of the board and arm, deny and touch. Without a terminal they do it by
// themselves, saying so; with one they do what the person presses.
type hands struct {
	board board
	n     *narrator
	term  *terminal // nil: by themselves
	idle  bool      // by themselves: arm, but never touch

	mark  int    // views seen so far
	armed string // the job armed last, not to be armed again
	asked int    // touch announced last
}

// FromNow passes over what was on display so far. It must be called before anybody can ask for a signature: a request
// between that and Attend is then still seen.
func (h *hands) FromNow() { h.mark = h.board.Views().Mark() }

// Attend serves the board until ctx ends; it returns nil then.
func (h *hands) Attend(ctx context.Context) error {
	views := make(chan operator.View)
	failed := make(chan error, 1)
	go func() { failed <- h.feed(ctx, views) }()
	var keys <-chan byte
	var tick <-chan time.Time
	if h.term != nil {
		t := time.NewTicker(250 * time.Millisecond) // a clock, a countdown, a key that counts by now
		defer t.Stop()
		keys, tick = h.term.keys, t.C
		defer h.term.Leave()
	}
	for {
		var err error
		select {
		case v := <-views:
			err = h.see(ctx, v)
		case k := <-keys:
			err = h.press(ctx, k)
		case <-tick:
			err = h.term.Paint()
		case err = <-failed:
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// feed passes on each view from mark on.
func (h *hands) feed(ctx context.Context, views chan<- operator.View) error {
	any := func(operator.View) bool { return true }
	for {
		v, mark, err := h.board.Views().Wait(ctx, h.mark, any)
		if err != nil {
			return err
		}
		h.mark = mark
		select {
		case views <- v:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// see shows a view and, without a person, does what the board asks for.
func (h *hands) see(ctx context.Context, v operator.View) error {
	if h.term != nil {
		return h.term.See(v)
	}
	switch j := v.Job; {
	case v.Order != nil:
		return h.obey(ctx, v)
	case v.Ask == operator.AskArm && h.armed != j.ID:
		h.armed, h.asked = j.ID, 0
		h.n.Say("board: job %.8s of class %s, asked by %s: %d item(s)", j.ID, j.Class, j.Host, len(j.Items))
		for _, it := range j.Items {
			h.n.Say("board:   claimed name %s, %d bytes, %s", it.Claimed, it.Size, it.Digest)
		}
		h.n.Say("operator: arm")
		return h.board.Operator("arm " + j.ID)
	case v.Ask == operator.AskTouch && !h.idle && h.asked != j.Touch:
		h.asked = j.Touch
		h.n.Say("operator: touch %d of %d", j.Touch, len(j.Items))
		return h.board.Touch(ctx)
	}
	return nil
}

// obey arms an administrators' order without a person, and touches the token if it asks for that. It goes on without a
// host's mirror only where a person says so.
func (h *hands) obey(ctx context.Context, v operator.View) error {
	o := v.Order
	if v.Ask == operator.AskTouch && !h.idle && h.asked == 0 {
		h.asked = 1
		h.n.Say("operator: touch")
		return h.board.Touch(ctx)
	}
	if v.Ask != operator.AskArm || h.armed == o.ID {
		return nil
	}
	h.armed, h.asked = o.ID, 0
	h.n.Say("board: administrators' order %.8s: %s", o.ID, o.Kind)
	for _, line := range o.Lines {
		h.n.Say("board:   %s", line)
	}
	h.n.Say("operator: arm")
	return h.board.Operator("arm " + o.ID)
}

// press turns a person's key into what the operator says or does; the display minds what may be armed.
func (h *hands) press(ctx context.Context, key byte) error {
	now := time.Now()
	if key == 't' {
		// A touch while nothing blinks does nothing on a real token either.
		if h.term.face.View(now).Ask == operator.AskTouch {
			return h.board.Touch(ctx)
		}
		return nil
	}
	if c, ok := h.term.face.Press(key, now); ok && c.Job+c.Rule != "" { // either of them: what else there is the world says itself
		return h.board.Operator(fmt.Sprintf("%s %s", c.Verb, c.Job+c.Rule))
	}
	return h.term.Paint()
}
