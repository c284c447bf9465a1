package hostd

import (
	"bytes"
	"encoding/json"
	"sync"
	"time"

	"touchmark/hostlink/hostd/api"
)

// Ended is how a request ended, for whoever counts.
type Ended struct {
	Code  int    // exit code, api.OK if it was signed
	Class string // "" if it never had one
	Files int
	Took  time.Duration // since it was accepted
}

// maxUnread bounds the ended jobs that a watcher who does not read is told of.
const maxUnread = 256

// watcher is a client that follows what changes. Snapshots that it is too slow
// for are replaced by newer ones; the ends of jobs are kept for it.
type watcher struct {
	wake chan struct{} // capacity 1
	last []byte        // the snapshot that it was told last, in the loop only

	mu     sync.Mutex // guards what follows
	latest *api.Response
	ended  []api.Job
}

// Snapshot is what the daemon knows now: its status and the jobs that go on. The
// board is not asked. It is nil when the daemon has stopped.
func (d *Daemon) Snapshot() *api.Response {
	var r *api.Response
	if !d.loop.Do(func() { r = d.snapshot() }) {
		return nil
	}
	return r
}

func (d *Daemon) snapshot() *api.Response {
	r := d.statusResponse()
	r.Final = false
	r.Jobs = []api.Job{}
	for _, j := range d.jobs {
		if j.record != nil {
			r.Jobs = append(r.Jobs, d.describe(j))
		}
	}
	return r
}

// tellWatchers is called after everything that the loop does.
func (d *Daemon) tellWatchers() {
	if len(d.watchers) == 0 {
		return
	}
	r := d.snapshot()
	age := r.Status.Age
	r.Status.Age = 0 // passes by itself
	text, err := json.Marshal(r)
	if err != nil {
		d.log.Error().Err(err).Msg("snapshot")
		return
	}
	r.Status.Age = age
	for w := range d.watchers {
		w.tell(r, text)
	}
}

// tell gives the watcher a snapshot that is another than its last, or comes with
// jobs that ended.
func (w *watcher) tell(r *api.Response, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Equal(text, w.last) && len(w.ended) == 0 {
		return
	}
	w.last, w.latest = text, r
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take is the newest snapshot, with the jobs that ended since the one before.
func (w *watcher) take() *api.Response {
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

// over tells who watches, and who counts, of the end of a job.
func (d *Daemon) over(j *job, resp *api.Response) {
	e := Ended{Code: resp.Code, Class: j.class, Files: len(j.items)}
	if j.record != nil {
		e.Took = d.loop.Clock().Sub(j.record.Created)
	}
	if d.o.Ended != nil {
		d.o.Ended(e)
	}
	if j.record == nil || len(d.watchers) == 0 {
		return
	}
	a := api.Job{Job: j.id().String(), State: "ended", Class: j.class, Created: j.record.Created.Format(time.RFC3339),
		Deadline: j.record.Deadline.Format(time.RFC3339), Persons: []string{}, Code: resp.Code, Error: resp.Error}
	if resp.OK {
		a.State = "signed"
	}
	for _, it := range j.items {
		a.Names = append(a.Names, it.Name)
	}
	for w := range d.watchers {
		w.mu.Lock()
		w.ended = append(w.ended[max(0, len(w.ended)+1-maxUnread):], a)
		w.mu.Unlock()
	}
}

// serveWatch tells a client everything that changes, and the entries that get
// committed, from the one on that it names or from now on, until either goes.
func (d *Daemon) serveWatch(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	w := &watcher{wake: make(chan struct{}, 1)}
	if !d.loop.Post(func() { d.watchers[w] = true }) {
		return
	}
	defer d.loop.Post(func() { delete(d.watchers, w) })
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var next api.Request
		_ = lines.Read(&next) // whatever it says or does not means that it goes
	}()
	next := req.From
	for {
		select {
		case <-w.wake:
		case <-gone:
			return
		case <-d.loop.Done():
			return
		}
		r := w.take()
		if r == nil {
			continue
		}
		if req.From == 0 && next == 0 {
			next = r.Status.Committed
		}
		if say(r) != nil || !d.entriesTo(&next, r.Status.Committed, say) {
			return
		}
	}
}

// entriesTo sends the committed entries from *next to size.
func (d *Daemon) entriesTo(next *uint64, size uint64, say func(*api.Response) error) bool {
	for ; *next < size; *next++ {
		e, err := d.mirror.Store.Entry(*next)
		if err != nil {
			_ = say(api.Fail(api.Internal, "%v", err))
			return false
		}
		if say(&api.Response{Entry: &api.Entry{Index: *next, Committed: true, Text: e}}) != nil {
			return false
		}
	}
	return true
}
