package desk

import (
	"cmp"
	"context"

	"touchmark/hostlink/hostd/api"
	"touchmark/tpm/ledger/find"
)

// serveLog streams entries of the mirror. The store may be read beside the
// loop; only the committed size is asked there.
func (d *Desk) serveLog(ctx context.Context, req *api.Request, say func(*api.Response) error) {
	var committed uint64
	if d.o.Loop.Do(func() { committed = d.o.Mirror.Committed() }) {
		_ = say(d.tellEntries(ctx, req, committed, say))
	}
}

// tellEntries sends the entries that a log request asks for; the last word is
// what it returns.
func (d *Desk) tellEntries(ctx context.Context, req *api.Request, committed uint64, say func(*api.Response) error) *api.Response {
	finder, err := find.New(*cmp.Or(req.Find, &find.Query{}))
	if err != nil {
		return api.Fail(api.Usage, "%v", err)
	}
	from, to := span(req, d.o.Mirror.Size())
	for i := from; i < to && ctx.Err() == nil; i++ {
		e, err := d.o.Mirror.Store.Entry(i)
		wanted := req.Find == nil
		if err == nil && !wanted {
			wanted, err = finder.Match(e)
		}
		if err != nil {
			return api.Fail(api.Internal, "%v", err)
		}
		if wanted && say(&api.Response{Entry: &api.Entry{Index: i, Committed: i < committed, Text: e}}) != nil {
			break // the client is gone
		}
	}
	return &api.Response{Final: true, OK: true}
}

// span is the range of entries that a log request means.
func span(r *api.Request, size uint64) (from, to uint64) {
	from, to = min(r.From, size), size
	if r.Last > 0 {
		from = size - min(r.Last, size)
	}
	if r.Count > 0 {
		to = min(to, from+min(r.Count, size))
	}
	return from, to
}

// servePublish brings the published log up to date and waits for it.
func (d *Desk) servePublish(say func(*api.Response) error) {
	if !d.o.Loop.Do(d.o.Publish) {
		return
	}
	if err := d.o.Published.Flush(); err != nil {
		_ = say(api.Fail(api.CannotWrite, "publish: %v", err))
		return
	}
	_ = say(&api.Response{Final: true, OK: true})
}
