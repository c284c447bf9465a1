package pivemu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// TouchMode tells who touches the token.
type TouchMode string

const (
	TouchAuto  TouchMode = "auto"  // touched the instant it is awaited
	TouchNever TouchMode = "never" // nobody: every wait times out
	TouchAsk   TouchMode = "ask"   // each wait needs one call of [Card.Touch]
)

// ParseTouchMode reads the name of a mode; "" is auto.
func ParseTouchMode(s string) (TouchMode, error) {
	switch m := TouchMode(s); m {
	case "":
		return TouchAuto, nil
	case TouchAuto, TouchNever, TouchAsk:
		return m, nil
	}
	return "", fmt.Errorf("pivemu: no touch mode %q: use auto, never or ask", s)
}

// ErrNotWaiting says that the token does not wait for a touch, so a finger does nothing.
var ErrNotWaiting = errors.New("the token is not waiting for a touch")

// ErrModeNever says that in the mode "never" nobody touches.
var ErrModeNever = errors.New("the touch mode is never")

type touchResult int

const (
	touchGiven touchResult = iota
	touchTimedOut
	touchAborted
)

// finger decides on touches. It is apart from the card's lock, because it is
// asked for while a command holds that lock.
type finger struct {
	window time.Duration

	mu      sync.Mutex
	mode    TouchMode
	result  chan touchResult // of the present wait, nil when there is none
	began   chan struct{}    // closed when the next wait begins
	touches int              // given so far, automatic ones included
}

func newFinger(mode TouchMode, window time.Duration) (*finger, error) {
	m, err := ParseTouchMode(string(mode))
	if err != nil {
		return nil, err
	}
	return &finger{window: window, mode: m, began: make(chan struct{})}, nil
}

// wait is called by the card; one wait at a time.
func (f *finger) wait(ctx context.Context) touchResult {
	result, auto := f.begin()
	if auto {
		return touchGiven
	}
	timer := time.NewTimer(f.window)
	defer timer.Stop()
	select {
	case r := <-result:
		return r
	case <-timer.C:
		_ = f.end(touchTimedOut)
	case <-ctx.Done():
		_ = f.end(touchAborted)
	}
	return <-result // a touch in the last instant counts
}

func (f *finger) begin() (chan touchResult, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode == TouchAuto {
		f.touches++
		return nil, true
	}
	f.result = make(chan touchResult, 1)
	close(f.began)
	f.began = make(chan struct{})
	return f.result, false
}

// end finishes the present wait with r.
func (f *finger) end(r touchResult) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.endLocked(r)
}

func (f *finger) endLocked(r touchResult) error {
	if f.result == nil {
		return ErrNotWaiting
	}
	if r == touchGiven {
		f.touches++
	}
	f.result <- r
	f.result = nil
	return nil
}

func (f *finger) abort() { _ = f.end(touchAborted) }

// Touch is a finger on the token: it ends the present wait. It returns only
// after the wait is over, so a later [Card.WaitTouch] waits for the next one.
func (c *Card) Touch() error {
	f := c.finger
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode == TouchNever {
		return ErrModeNever
	}
	return f.endLocked(touchGiven)
}

// TimeOut ends the present wait as if the window had passed.
func (c *Card) TimeOut() error { return c.finger.end(touchTimedOut) }

// WaitTouch blocks until the token waits for a touch.
func (c *Card) WaitTouch(ctx context.Context) error {
	f := c.finger
	f.mu.Lock()
	waiting, began := f.result != nil, f.began
	f.mu.Unlock()
	if waiting {
		return nil
	}
	select {
	case <-began:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetTouchMode changes the mode; auto also touches for a wait under way.
func (c *Card) SetTouchMode(m TouchMode) error {
	m, err := ParseTouchMode(string(m))
	if err != nil {
		return err
	}
	f := c.finger
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = m
	if m == TouchAuto {
		_ = f.endLocked(touchGiven)
	}
	return nil
}

// TouchStatus tells the mode, whether a touch is awaited, and how many touches
// were given.
func (c *Card) TouchStatus() (mode TouchMode, waiting bool, touches int) {
	f := c.finger
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode, f.result != nil, f.touches
}
