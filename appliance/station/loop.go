package station

import (
	"context"
	"sync"
)

// loop is the queue of the one goroutine that owns the station's state.
type loop struct {
	inbox chan func()
	done  chan struct{}
}

func newLoop() loop { return loop{make(chan func(), 64), make(chan struct{})} }

// post hands f to the loop; once the loop is over it drops it.
func (l loop) post(f func()) {
	select {
	case l.inbox <- f:
	case <-l.done:
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
