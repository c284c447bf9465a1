package desk

import (
	"cmp"
	"encoding/hex"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/news"
)

// serveStatus answers with what is known of the board, made new if it is old.
func (d *Desk) serveStatus(say func(*api.Response) error) {
	ch := make(chan *api.Response, 1)
	tell := func() { ch <- &api.Response{Final: true, OK: true, Status: d.status()} }
	if !d.o.Loop.Post(func() { d.o.Board.Fresh(d.o.Queue.Busy(), tell) }) {
		return
	}
	select {
	case r := <-ch:
		_ = say(r)
	case <-d.o.Loop.Done():
	}
}

// status is what is known now; the board is not asked.
func (d *Desk) status() *api.Status {
	unable := cmp.Or(d.o.Queue.Unable(), d.o.Board.ClocksApart()) // the first looks for a new trust file
	tr := d.o.Mirror.Pinned()
	s := &api.Status{
		Origin: tr.Origin, Host: d.o.Host, Device: d.o.Device, Committed: d.o.Mirror.Committed(), Mirrored: d.o.Mirror.Size(),
		Published: d.o.Published.Published(), Jobs: d.o.Queue.IDs(), Emulated: tr.Emulated,
	}
	d.o.Board.Tell(s)
	for _, c := range tr.Keys {
		fpr := c.Key.Fingerprint()
		s.Certs = append(s.Certs, hex.EncodeToString(fpr[:]))
		s.Standing = append(s.Standing, d.o.Trust.Standing(c, d.o.Loop.Clock()))
	}
	if unable != nil {
		s.Refuses, s.Code = unable.Error, unable.Code
	}
	return s
}

// Snapshot is what is known now: the status and the jobs that go on. It is called in the loop.
func (d *Desk) Snapshot() *api.Response {
	return &api.Response{OK: true, Status: d.status(), Jobs: d.o.Queue.Open()}
}

// serveWatch tells a client everything that changes, and the entries that get
// committed, from the one on that it names or from now on, until either goes.
func (d *Desk) serveWatch(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	w := news.NewWatcher()
	if !d.o.Loop.Post(func() { d.o.News.Join(w) }) {
		return
	}
	defer d.o.Loop.Post(func() { d.o.News.Leave(w) })
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var next api.Request
		_ = lines.Read(&next) // whatever it says or does not means that it goes
	}()
	next := req.From
	for {
		select {
		case <-w.Wake:
		case <-gone:
			return
		case <-d.o.Loop.Done():
			return
		}
		r := w.Take()
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
func (d *Desk) entriesTo(next *uint64, size uint64, say func(*api.Response) error) bool {
	for ; *next < size; *next++ {
		e, err := d.o.Mirror.Store.Entry(*next)
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
