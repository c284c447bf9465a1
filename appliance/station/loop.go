package station

import (
	"context"
	"sync"
)

// loop is what waits for the one goroutine that owns the station's state. The
// operator comes first, then devices and timers, then the host: however fast a
// host sends, a button waits for no more than the step that is under way.
type loop struct {
	operator chan func()
	inbox    chan func() // devices and timers
	host     chan func() // what comes up the link
	done     chan struct{}
}

// hostQueue bounds what is taken off the link before its turn; what a host
// sends beyond that waits in the link process, and then in the host.
const hostQueue = 16

func newLoop() loop {
	return loop{make(chan func(), 16), make(chan func(), 64), make(chan func(), hostQueue), make(chan struct{})}
}

// post hands f to the loop, behind other devices and timers; once the loop is
// over it drops it.
func (l loop) post(f func()) { l.hand(l.inbox, f) }

// postOperator hands f to the loop, before anything but the operator's own.
func (l loop) postOperator(f func()) { l.hand(l.operator, f) }

// postHost hands f to the loop when nothing else waits, in order.
func (l loop) postHost(f func()) { l.hand(l.host, f) }

func (l loop) hand(queue chan<- func(), f func()) {
	select {
	case queue <- f:
	case <-l.done:
	}
}

// next waits for the next thing to do, nil when ctx has ended.
func (l loop) next(ctx context.Context) func() {
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

func (l loop) close() { close(l.done) }

// worker serves one slow device: it runs one piece of work after another on a
// goroutine of its own and posts what comes of it back into the loop.
type worker struct {
	loop loop
	jobs chan func() func()
	wg   sync.WaitGroup
}

// workQueue bounds the work waiting for one device. It is never full, so that
// the loop never waits for a device: the TPM has one piece of work of the
// ceremony and one of a hello, the token one poll, one PIN and one signature.
const workQueue = 8

func (w *worker) start(ctx context.Context, l loop) {
	w.loop = l
	w.jobs = make(chan func() func(), workQueue)
	w.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case job := <-w.jobs:
				if ctx.Err() != nil {
					return // nobody would record what came of it
				}
				l.post(job())
			}
		}
	})
}

// do queues work; what it returns runs in the loop. It is called from the loop.
func (w *worker) do(work func() (then func())) { w.jobs <- work }

func (w *worker) wait() { w.wg.Wait() }
