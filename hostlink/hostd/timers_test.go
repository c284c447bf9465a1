package hostd

import (
	"slices"
	"sync"
	"time"
)

// timers are a daemon's. They run as any do, and a test can have them pass before their time.
type timers struct {
	mu  sync.Mutex // guards all
	all []*timer
}

type timer struct {
	*time.Timer
	wait time.Duration
	took chan struct{} // closed when what it does has been handed to the loop
}

// start is time.AfterFunc.
func (t *timers) start(wait time.Duration, f func()) *time.Timer {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &timer{wait: wait, took: make(chan struct{})}
	n.Timer = time.AfterFunc(wait, func() { f(); close(n.took) })
	t.all = append(t.all, n)
	return n.Timer
}

// of gives those that wait so long, whether or not they have fired.
func (t *timers) of(wait time.Duration) (some []*timer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.all {
		if n.wait == wait {
			some = append(some, n)
		}
	}
	return some
}

// pass has the newest that waits so long happen now, and returns when it did.
func (w *world) pass(wait time.Duration) {
	w.t.Helper()
	w.look(func() {}) // what came before may have started some
	for _, n := range slices.Backward(w.timers.of(wait)) {
		if n.Stop() {
			n.Reset(0)
			<-n.took
			w.look(func() {})
			return
		}
	}
	w.t.Fatalf("nothing waits for %s", wait)
}
