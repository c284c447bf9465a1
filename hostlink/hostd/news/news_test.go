package news

import (
	"testing"

	"touchmark/hostlink/hostd/api"
)

// TestWatchSlowly: a watcher that does not read loses snapshots, but no end of a job; who left hears nothing.
func TestWatchSlowly(t *testing.T) {
	n, w, gone := New(), NewWatcher(), NewWatcher()
	age := 0
	tell := func() {
		t.Helper()
		age++ // passes by itself: it is no news
		if err := n.Tell(func() *api.Response { return &api.Response{Status: &api.Status{Age: age}} }); err != nil {
			t.Fatal(err)
		}
	}
	tell() // nobody watches
	n.Join(w)
	n.Join(gone)
	n.Leave(gone)
	for range 3 {
		n.Over(api.Job{Code: api.Denied})
		tell()
	}
	<-w.Wake
	if r := w.Take(); len(r.Jobs) != 3 || r.Jobs[2].Code != api.Denied || r.Status.Age != age {
		t.Errorf("it hears of %+v", r.Jobs)
	}
	if r := w.Take(); r != nil {
		t.Errorf("and once more of %+v", r)
	}
	tell()
	if r := w.Take(); r != nil || len(w.Wake) != 0 {
		t.Errorf("of nothing new: %+v", r)
	}
	for range 2 * maxUnread {
		n.Over(api.Job{})
	}
	if len(w.ended) != maxUnread {
		t.Errorf("%d ends are kept", len(w.ended))
	}
	if r := gone.Take(); r != nil {
		t.Errorf("who left hears of %+v", r)
	}
}

// TestNobodyWatches: no snapshot is made for nobody.
func TestNobodyWatches(t *testing.T) {
	if err := New().Tell(func() *api.Response { t.Error("one is"); return nil }); err != nil {
		t.Fatal(err)
	}
}
