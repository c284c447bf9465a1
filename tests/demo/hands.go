package main

import (
	"context"
	"errors"
	"fmt"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// hands are the operator's: they see each view of the board and arm, deny and touch. Without a terminal they do it by
// themselves, saying so; with one they do what the person presses.
type hands struct {
	w    *world.World
	n    *narrator
	term *terminal // nil: by themselves

	mark  int    // views seen so far
	armed string // the job armed last, not to be armed again
	asked int    // touch announced last
}

// Attend serves the board until ctx ends; it returns nil then.
func (h *hands) Attend(ctx context.Context) error {
	h.mark = h.w.Views().Mark()
	views := make(chan operator.View)
	failed := make(chan error, 1)
	go func() { failed <- h.feed(ctx, views) }()
	var keys <-chan byte
	if h.term != nil {
		keys = h.term.keys
		defer h.term.Leave()
	}
	var now operator.View
	for {
		var err error
		select {
		case now = <-views:
			err = h.see(ctx, now)
		case k := <-keys:
			err = h.press(ctx, k, now)
		case err = <-failed:
			if errors.Is(err, context.Canceled) {
				return nil
			}
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
		v, mark, err := h.w.Views().Wait(ctx, h.mark, any)
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

// see shows a view and, without a person, acts on it.
func (h *hands) see(ctx context.Context, v operator.View) error {
	if h.term != nil {
		return h.term.Paint(v)
	}
	j := v.Job
	switch {
	case j == nil:
		return nil
	case j.State == "shown" && h.armed != j.ID:
		h.armed, h.asked = j.ID, 0
		h.n.Say("board: job %.8s, class %s, asked by %s: %d item(s)", j.ID, j.Class, j.Host, len(j.Items))
		for _, it := range j.Items {
			h.n.Say("board:   claimed name %s, %d bytes, %s", it.Claimed, it.Size, it.Digest)
		}
		h.n.Say("operator: arm")
		return h.w.Operator("arm " + j.ID)
	case v.Event == "touch" && h.asked != j.Touch:
		h.asked = j.Touch
		h.n.Say("operator: touch %d of %d", j.Touch, len(j.Items))
		return h.w.Token.Touch(ctx)
	}
	return nil
}

// press turns a person's key into what the operator says or does.
func (h *hands) press(ctx context.Context, key byte, now operator.View) error {
	if now.Job == nil {
		return nil
	}
	switch key {
	case 'a', 'd':
		verb := map[byte]operator.Verb{'a': operator.Arm, 'd': operator.Deny}[key]
		return h.w.Operator(fmt.Sprintf("%s %s", verb, now.Job.ID))
	case 't':
		// A touch while nothing blinks does nothing on a real token either.
		if now.Event == "touch" {
			return h.w.Token.Touch(ctx)
		}
	}
	return nil
}
