package hostd

import (
	"slices"
	"strings"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/message"
)

// until reads what a watcher is told up to the response that f wants.
func (c *client) until(f func(*api.Response) bool) *api.Response {
	c.t.Helper()
	for {
		r := c.read()
		if r.Final {
			c.t.Fatalf("the watch ends: %+v", r)
		}
		if f(r) {
			return r
		}
	}
}

func has(r *api.Response, id, state string) bool {
	return slices.ContainsFunc(r.Jobs, func(j api.Job) bool { return (id == "" || j.Job == id) && j.State == state })
}

// TestWatch: who watches sees the link come up, each state of a job and its end, and every entry that gets committed.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	c := w.ask(&api.Request{Op: api.OpWatch})
	if r := c.read(); r.Status == nil || r.Status.Verified || len(r.Jobs) != 0 {
		t.Fatalf("it begins with %+v", r)
	}
	w.b.meet()
	c.until(func(r *api.Response) bool { return r.Status != nil && r.Status.Verified })
	s := w.sign("a.db")
	asked := w.b.submitted()
	c.until(func(r *api.Response) bool { return len(r.Jobs) == 1 })
	w.b.say(&message.Event{Job: asked.Job, State: message.EventShown})
	c.until(func(r *api.Response) bool { return has(r, asked.Job.String(), message.EventShown) })
	w.b.run(asked, nil)
	id := s.expect(api.OK, "").Job
	var entries []uint64
	for ended := false; !ended || len(entries) < 1; {
		switch r := c.read(); {
		case r.Entry != nil:
			if !r.Entry.Committed {
				t.Errorf("entry %d is not committed", r.Entry.Index)
			}
			entries = append(entries, r.Entry.Index)
		case has(r, id, "signed"):
			ended = true
		}
	}
	if entries[0] != 1 {
		t.Errorf("entries %v", entries)
	}
	// Another that names where it goes on gets what it missed.
	again := w.ask(&api.Request{Op: api.OpWatch, From: 1})
	if r := again.until(func(r *api.Response) bool { return r.Entry != nil }); r.Entry.Index != 1 {
		t.Errorf("from 1 it gets entry %d", r.Entry.Index)
	}
}

// TestEndedIsTold: whoever counts hears of each end once, of requests too that never became a job.
func TestEndedIsTold(t *testing.T) {
	w := newWorld(t)
	w.stop()
	var got []string
	w.count = func(e queue.Ended) {
		got = append(got, strings.Join([]string{e.Class, []string{"ok", "not"}[min(e.Code, 1)]}, " "))
	}
	w.start()
	w.b.meet()
	c := w.sign("a.db", "b.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
	w.sign("nothing.fits").expect(api.Refused, "no class")
	w.stop()
	if want := []string{"pacman-db ok", " not"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
