package pcsc

import (
	"errors"
	"fmt"
	"sync"
)

// bay is a reader for tests: cards are pulled and inserted, and each insertion
// records what reached it.
type bay struct {
	name string

	mu     sync.Mutex
	inside *fakeCard // nil: empty
	made   []*fakeCard
	answer func(apdu []byte) ([]byte, error)
}

func newBay(name string) *bay {
	b := &bay{name: name, answer: func(a []byte) ([]byte, error) {
		return append(append([]byte(nil), a...), 0x90, 0), nil
	}}
	b.insert()
	return b
}

func (b *bay) insert() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inside = &fakeCard{bay: b, pulled: make(chan struct{})}
	b.made = append(b.made, b.inside)
}

func (b *bay) pull() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inside != nil {
		close(b.inside.pulled)
		b.inside = nil
	}
}

func (b *bay) Readers() []string { return []string{b.name} }

func (b *bay) Connect(reader string) (Card, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inside == nil {
		return nil, fmt.Errorf("bay: %w", ErrNoSmartcard)
	}
	b.inside.connects++
	return &fakeConn{card: b.inside}, nil
}

// fakeCard is one insertion.
type fakeCard struct {
	bay      *bay
	pulled   chan struct{}
	connects int // guarded by bay.mu, as the rest
	resets   int
	closes   int
	apdus    int
}

// fakeConn is what a real backend gives out: bound to its insertion.
type fakeConn struct {
	card   *fakeCard
	closed bool
}

var errUseAfterClose = errors.New("card used after Close")

func (c *fakeConn) touch(f func()) error {
	c.card.bay.mu.Lock()
	defer c.card.bay.mu.Unlock()
	if c.closed {
		panic(errUseAfterClose)
	}
	if c.card.bay.inside != c.card {
		return ErrRemovedCard
	}
	f()
	return nil
}

func (c *fakeConn) Transmit(apdu []byte) ([]byte, error) {
	if err := c.touch(func() { c.card.apdus++ }); err != nil {
		return nil, err
	}
	return c.card.bay.answer(apdu)
}

func (c *fakeConn) Reset() error { return c.touch(func() { c.card.resets++ }) }

func (c *fakeConn) Close() error {
	c.card.bay.mu.Lock()
	defer c.card.bay.mu.Unlock()
	if c.closed {
		panic(errUseAfterClose)
	}
	c.closed = true
	c.card.closes++
	return nil
}
