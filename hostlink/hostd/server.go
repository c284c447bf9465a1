package hostd

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/find"
)

// serve answers clients until ctx ends.
func (d *Daemon) serve(ctx context.Context, l net.Listener) {
	socket.Serve(ctx, l, socket.Clients{
		Most:  maxClients,
		Serve: func(c net.Conn) { d.client(ctx, c) },
		Refuse: func(c net.Conn) {
			_ = api.NewLines(c).Write(api.Fail(api.DeviceFault, "%d clients are connected already: try again later", maxClients))
		},
		Failed: func(err error) { d.log.Error().Err(err).Msg("socket") },
	})
}

// client serves one connection: one request, but for cancel.
func (d *Daemon) client(ctx context.Context, c net.Conn) {
	lines := api.NewLines(c)
	var req api.Request
	// A client connects first and hashes then, so that it learns early whether
	// anybody is there; who never says anything does not keep a goroutine.
	_ = c.SetReadDeadline(time.Now().Add(hashWait))
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	err := lines.Read(&req)
	if stop(); err != nil {
		if errors.Is(err, api.ErrLine) {
			_ = lines.Write(api.Fail(api.Usage, "%v", err))
		}
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	say := func(r *api.Response) error {
		_ = c.SetWriteDeadline(time.Now().Add(readWait(req.Op)))
		return lines.Write(r)
	}
	switch req.Op {
	case api.OpSign:
		d.serveSign(lines, &req, say)
	case api.OpMay:
		d.answer(say, func() *api.Response { return d.may(&req) })
	case api.OpFetch:
		d.serveFetch(lines, &req, say)
	case api.OpJobs:
		d.answer(say, d.list)
	case api.OpStatus:
		d.serveStatus(say)
	case api.OpLog:
		defer context.AfterFunc(ctx, func() { _ = c.Close() })() // or say waits for a person
		d.serveLog(ctx, &req, say)
	case api.OpPublish:
		d.servePublish(say)
	case api.OpChallenge:
		d.serveChallenge(&req, say)
	case api.OpApproval:
		d.answer(say, func() *api.Response { return d.approval(req.Job) })
	case api.OpApprove:
		d.answer(say, func() *api.Response { return d.approve(req.Note) })
	case api.OpWithdraw:
		d.answer(say, func() *api.Response { return d.withdrawParked(req.Job) })
	case api.OpWatch:
		d.serveWatch(lines, &req, say)
	case api.OpOrder:
		d.serveOrder(lines, &req, say)
	case api.OpRound:
		d.serveRound(ctx, lines, &req, say)
	default:
		_ = say(api.Fail(api.Usage, "unknown operation %q", req.Op))
	}
}

// hashWait bounds how long a local client may take to speak, clientWait how
// long to read: it has nothing else to do then.
const (
	hashWait   = 6 * time.Hour
	clientWait = 10 * time.Second
	pagerWait  = 24 * time.Hour
	takenWait  = time.Minute // to write what it got to a slow disk
)

// readWait bounds how long a client may take to read what it is told: a log may be
// before a person, in a pager, who looks at one screen of it until tomorrow.
func readWait(op string) time.Duration {
	if op == api.OpLog {
		return pagerWait
	}
	return clientWait
}

// answer runs f in the loop and sends what it returns.
func (d *Daemon) answer(say func(*api.Response) error, f func() *api.Response) {
	var r *api.Response
	if d.loop.Do(func() { r = f() }) {
		_ = say(r)
	}
}

// serveSign runs one signing request.
func (d *Daemon) serveSign(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	j, err := newJob(req)
	if err != nil {
		_ = say(api.Fail(api.Usage, "%v", err))
		return
	}
	if !req.Partly {
		say = orNothing(say)
	}
	d.wait(lines, say, func(w *waiter.Waiter) *job { return d.ask(j, w) })
}

// orNothing is for clients that want all signatures of a request or none.
func orNothing(say func(*api.Response) error) func(*api.Response) error {
	return func(r *api.Response) error {
		if r.Final && !r.OK {
			bare := *r // others may wait for the same
			bare.Signatures, bare.Proofs = nil, nil
			r = &bare
		}
		return say(r)
	}
}

// serveFetch waits for a job that was asked for before.
func (d *Daemon) serveFetch(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	id, err := message.ParseJobID(req.Job)
	if err != nil {
		_ = say(api.Fail(api.Usage, "%v: see touchmark jobs", err))
		return
	}
	d.wait(lines, orNothing(say), func(w *waiter.Waiter) *job {
		j := findIn(slices.Concat(d.jobs, d.past), id)
		if j == nil {
			w.Final <- api.Fail(api.Usage, "job %s is not kept here (any more): see touchmark jobs, and touchmark log", id)
			return nil
		}
		d.join(j, w)
		return j
	})
}

// wait has a client wait for the job that begin finds or makes in the loop. Its
// end, or its cancel, leaves the job; the final answer is awaited all the same.
// Without one the daemon is stopping, and the client comes back to the next.
func (d *Daemon) wait(lines *api.Lines, say func(*api.Response) error, begin func(*waiter.Waiter) *job) {
	w := waiter.New()
	var j *job // the loop's
	if !d.loop.Post(func() { j = begin(w) }) {
		return
	}
	d.follow(lines, say, w, func(op string) {
		switch op {
		case "":
			d.gone(j, w)
		case api.OpTaken:
			d.taken(j)
		default:
			d.leave(j, w) // whatever else it says means stop
		}
	})
}

// follow brings a client what a waiter hears, until the final answer. What the
// client says meanwhile is for said, in the loop; nothing is that it is gone.
func (d *Daemon) follow(lines *api.Lines, say func(*api.Response) error, w *waiter.Waiter, said func(op string)) {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			var next api.Request
			if lines.Read(&next) != nil {
				next.Op = ""
			}
			d.loop.Post(func() { said(next.Op) })
			if next.Op == "" || next.Op == api.OpTaken {
				return
			}
		}
	}()
	for {
		select {
		case e := <-w.Events:
			_ = say(&api.Response{Event: e}) // one that is gone is noticed above
		case r := <-w.Final:
			if say(r) == nil {
				d.awaitTaken(heard)
			}
			return
		case <-d.loop.Done():
			return
		}
	}
}

// awaitTaken gives the client time to write what it got, and to say so.
func (d *Daemon) awaitTaken(heard <-chan struct{}) {
	late := time.NewTimer(takenWait)
	defer late.Stop()
	select {
	case <-heard:
	case <-late.C:
	case <-d.loop.Done():
	}
}

// serveStatus answers with what is known of the board, made new if it is old.
func (d *Daemon) serveStatus(say func(*api.Response) error) {
	ch := make(chan *api.Response, 1)
	if !d.loop.Post(func() { d.fresh(func() { ch <- d.statusResponse() }) }) {
		return
	}
	select {
	case r := <-ch:
		_ = say(r)
	case <-d.loop.Done():
	}
}

func (d *Daemon) statusResponse() *api.Response {
	unable := d.unable() // which looks for a new trust file
	s := &api.Status{
		Origin: d.mirror.Pinned().Origin, Host: d.o.Key.Name(), Link: d.linkState(), Device: d.o.Device,
		BoardTime: boardTime(d.conv), Verified: d.ready(), Committed: d.mirror.Committed(), Mirrored: d.mirror.Size(),
		Published: d.pub.Published(), Evidence: d.evidence, Jobs: []string{},
		Emulated: d.mirror.Pinned().Emulated,
	}
	s.Days = -1
	for _, c := range d.mirror.Pinned().Keys {
		fpr := c.Key.Fingerprint()
		s.Certs = append(s.Certs, hex.EncodeToString(fpr[:]))
		s.Standing = append(s.Standing, d.trust.Standing(c, d.loop.Clock()))
	}
	if d.conv != nil && d.conv.welcome != nil {
		s.Board, s.Firmware = d.conv.welcome.State, d.conv.welcome.Firmware
		s.Writes, s.Days = d.conv.welcome.Writes, d.conv.welcome.Days
		s.Age = int(d.loop.Clock().Sub(d.conv.seen).Seconds())
	}
	if d.conv != nil && d.conv.halted {
		s.Board, s.Halt = message.StateHalted, d.conv.halt
	}
	if unable == nil {
		unable = d.clocksApart()
	}
	if unable != nil {
		s.Refuses, s.Code = unable.Error, unable.Code
	}
	for _, j := range d.jobs {
		if j.record != nil {
			s.Jobs = append(s.Jobs, j.id().String())
		}
	}
	return &api.Response{Final: true, OK: true, Status: s}
}

// clocksApart says that the board would refuse every request because of the clocks, nil if
// it would not. It is the board that decides, when a request comes: this is for
// whoever asks before.
func (d *Daemon) clocksApart() *api.Response {
	p := d.mirror.Policy()
	if p == nil || !d.ready() || d.conv.welcome == nil || d.conv.ahead.Abs() <= p.MaxSkew {
		return nil
	}
	where := "ahead of"
	if d.conv.ahead < 0 {
		where = "behind"
	}
	return api.Fail(api.Refused, "the appliance's clock is %s %s this host's, and it refuses requests from more than %s on (clock-skew): set the wrong one", d.conv.ahead.Abs().Round(time.Second), where, p.MaxSkew)
}

// serveLog streams entries of the mirror. The store may be read beside the
// loop; only the committed size is asked there.
func (d *Daemon) serveLog(ctx context.Context, req *api.Request, say func(*api.Response) error) {
	var committed uint64
	if d.loop.Do(func() { committed = d.mirror.Committed() }) {
		_ = say(d.tellEntries(ctx, req, committed, say))
	}
}

// tellEntries sends the entries that a log request asks for; the last word is
// what it returns.
func (d *Daemon) tellEntries(ctx context.Context, req *api.Request, committed uint64, say func(*api.Response) error) *api.Response {
	finder, err := find.New(*cmp.Or(req.Find, &find.Query{}))
	if err != nil {
		return api.Fail(api.Usage, "%v", err)
	}
	from, to := span(req, d.mirror.Size())
	for i := from; i < to && ctx.Err() == nil; i++ {
		e, err := d.mirror.Store.Entry(i)
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
func (d *Daemon) servePublish(say func(*api.Response) error) {
	if !d.loop.Do(d.publish) {
		return
	}
	if err := d.pub.Flush(); err != nil {
		_ = say(api.Fail(api.CannotWrite, "publish: %v", err))
		return
	}
	_ = say(&api.Response{Final: true, OK: true})
}
