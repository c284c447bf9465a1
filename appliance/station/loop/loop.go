// Package loop is the one queue of things to do that a board's state is owned
// by, and workers that serve slow devices beside it. What a worker answers runs
// in the loop, so no state is shared and nothing is locked.
package loop

import (
	"context"
	"sync"
	"time"
)

// Loop is what waits for the one goroutine that owns the station's state. The
// operator comes first, then devices and timers, then the host: however fast a
// host sends, a button waits for no more than the step that is under way.
type Loop struct {
	operator chan func()
	inbox    chan func() // devices and timers
	host     chan func() // what comes up the link
	done     chan struct{}
}

// hostQueue bounds what is taken off the link before its turn; what a host
// sends beyond that waits in the link process, and then in the host.
const hostQueue = 16

// New makes an empty loop.
func New() Loop {
	return Loop{make(chan func(), 16), make(chan func(), 64), make(chan func(), hostQueue), make(chan struct{})}
}

// Post hands f to the loop, behind other devices and timers; once the loop is
// over it drops it.
func (l Loop) Post(f func()) { l.hand(l.inbox, f) }

// After posts f after d, unless the timer is stopped.
func (l Loop) After(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { l.Post(f) })
}

// PostOperator hands f to the loop, before anything but the operator's own.
func (l Loop) PostOperator(f func()) { l.hand(l.operator, f) }

// PostHost hands f to the loop when nothing else waits, in order.
func (l Loop) PostHost(f func()) { l.hand(l.host, f) }

func (l Loop) hand(queue chan<- func(), f func()) {
	select {
	case queue <- f:
	case <-l.done:
	}
}

// Next waits for the next thing to do, nil when ctx has ended.
func (l Loop) Next(ctx context.Context) func() {
	if ctx.Err() != nil {
		return nil
	}
	for _, queue := range []chan func(){l.operator, l.inbox} {
		select {
		case f := <-queue:
			return f
		default:
		}
	}
	select {
	case f := <-l.operator:
		return f
	case f := <-l.inbox:
		return f
	case f := <-l.host:
		return f
	case <-ctx.Done():
		return nil
	}
}

// Close ends the loop: nobody who still posts waits any longer.
func (l Loop) Close() { close(l.done) }

// Worker serves one slow device: it runs one piece of work after another on a
// goroutine of its own and posts what comes of it back into the loop.
type Worker struct {
	loop Loop
	jobs chan func() func()
	wg   sync.WaitGroup
}

// WorkQueue bounds the work waiting for one device. It is never full, so that
// the loop never waits for a device: the TPM has one piece of work of the
// ceremony, one of a hello and one poll, the token one poll, one PIN and one
// signature.
const WorkQueue = 8

// Start begins to serve, until ctx ends.
func (w *Worker) Start(ctx context.Context, l Loop) {
	w.loop = l
	w.jobs = make(chan func() func(), WorkQueue)
	w.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case job := <-w.jobs:
				if ctx.Err() != nil {
					return // nobody would record what came of it
				}
				l.Post(job())
			}
		}
	})
}

// Do queues work; what it returns runs in the loop. It is called from the loop.
func (w *Worker) Do(work func() (then func())) { w.jobs <- work }

// Wait waits for the worker to have ended.
func (w *Worker) Wait() { w.wg.Wait() }
