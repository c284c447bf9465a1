// Package news tells clients who watch of what changes: the newest snapshot of what goes on, and the end of every job.
package news

import (
	"bytes"
	"encoding/json"
	"sync"

	"touchmark/hostlink/hostd/api"
)

// maxUnread bounds the ended jobs that a watcher who does not read is told of.
const maxUnread = 256

// News are those who watch. They belong to the loop; what a watcher takes does not.
type News struct{ watchers map[*Watcher]bool }

// New has nobody who watches.
func New() *News { return &News{map[*Watcher]bool{}} }

// Watcher is a client that follows what changes. Snapshots that it is too slow
// for are replaced by newer ones; the ends of jobs are kept for it.
type Watcher struct {
	Wake chan struct{} // capacity 1: there is something to take
	last []byte        // the snapshot that it was told last, in the loop only

	mu     sync.Mutex // guards what follows
	latest *api.Response
	ended  []api.Job
}

// NewWatcher is for a client that begins to watch.
func NewWatcher() *Watcher { return &Watcher{Wake: make(chan struct{}, 1)} }

// Join adds a watcher.
func (n *News) Join(w *Watcher) { n.watchers[w] = true }

// Leave takes a watcher off.
func (n *News) Leave(w *Watcher) { delete(n.watchers, w) }

// Tell tells who watches how it is now, if that is another than before; snapshot says it, and is asked only if somebody
// watches. The error is that a snapshot has no JSON.
func (n *News) Tell(snapshot func() *api.Response) error {
	if len(n.watchers) == 0 {
		return nil
	}
	r := snapshot()
	age := r.Status.Age
	r.Status.Age = 0 // passes by itself
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	r.Status.Age = age
	for w := range n.watchers {
		w.tell(r, text)
	}
	return nil
}

// Over tells who watches of the end of a job.
func (n *News) Over(a api.Job) {
	for w := range n.watchers {
		w.mu.Lock()
		w.ended = append(w.ended[max(0, len(w.ended)+1-maxUnread):], a)
		w.mu.Unlock()
	}
}

// tell gives the watcher a snapshot that is another than its last, or comes with
// jobs that ended.
func (w *Watcher) tell(r *api.Response, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Equal(text, w.last) && len(w.ended) == 0 {
		return
	}
	w.last, w.latest = text, r
	select {
	case w.Wake <- struct{}{}:
	default:
	}
}

// Take is the newest snapshot, with the jobs that ended since the one before.
func (w *Watcher) Take() *api.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest == nil {
		return nil
	}
	r := *w.latest
	r.Jobs = append(append([]api.Job{}, r.Jobs...), w.ended...)
	w.latest, w.ended = nil, nil
	return &r
}
