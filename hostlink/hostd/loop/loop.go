// Package loop is the one goroutine that owns what the host daemon knows: the conversation with the board, what is asked of
// it and who waits. Clients, timers and slow disks hand it closures, so none of that is shared and nothing is locked.
package loop

import (
	"time"
)

// Loop is what waits for that goroutine. Its methods may be called from any, but for Next's and Drain's.
type Loop struct {
	Waits Timing // the loop's own once it runs

	clock func() time.Time
	after func(time.Duration, func()) *time.Timer
	inbox chan func()
	done  chan struct{}
}

// New makes a loop. clock says the time, nil for the system's; after starts timers, nil for time.AfterFunc.
func New(waits Timing, clock func() time.Time, after func(time.Duration, func()) *time.Timer) *Loop {
	if clock == nil {
		clock = time.Now
	}
	if after == nil {
		after = time.AfterFunc
	}
	return &Loop{waits.withDefaults(), clock, after, make(chan func(), 64), make(chan struct{})}
}

// Post hands f to the loop; it reports false when that is over.
func (l *Loop) Post(f func()) bool {
	select {
	case l.inbox <- f:
		return true
	case <-l.done:
		return false
	}
}

// Do runs f in the loop and waits until it ran; it reports false when the loop is over. The loop itself must not call it.
func (l *Loop) Do(f func()) bool {
	ran := make(chan struct{})
	if !l.Post(func() { f(); close(ran) }) {
		return false
	}
	select {
	case <-ran:
		return true
	case <-l.done:
		return false
	}
}

// After runs f in the loop after a while.
func (l *Loop) After(wait time.Duration, f func()) *time.Timer {
	return l.after(wait, func() { l.Post(f) })
}

// Clock is the time.
func (l *Loop) Clock() time.Time { return l.clock() }

// Now is the time as messages have it: UTC, in whole seconds.
func (l *Loop) Now() time.Time { return l.clock().UTC().Truncate(time.Second) }

// Next gives what is to be done, in order.
func (l *Loop) Next() <-chan func() { return l.inbox }

// Drain does what was asked for before the end.
func (l *Loop) Drain() {
	for {
		select {
		case f := <-l.inbox:
			f()
		default:
			return
		}
	}
}

// Close ends the loop: nobody who still posts waits any longer.
func (l *Loop) Close() { close(l.done) }

// Done is closed when the loop is over.
func (l *Loop) Done() <-chan struct{} { return l.done }
