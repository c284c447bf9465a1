package desk

import (
	"context"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/hostd/request"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// serveSign runs one signing request.
func (d *Desk) serveSign(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	asked, err := request.New(req)
	if err != nil {
		_ = say(api.Fail(api.Usage, "%v", err))
		return
	}
	if !req.Partly {
		say = orNothing(say)
	}
	d.wait(lines, say, func(w *waiter.Waiter) *queue.Job { return d.o.Queue.Ask(asked, w) })
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
func (d *Desk) serveFetch(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	id, err := message.ParseJobID(req.Job)
	if err != nil {
		_ = say(api.Fail(api.Usage, "%v: see touchmark jobs", err))
		return
	}
	d.wait(lines, orNothing(say), func(w *waiter.Waiter) *queue.Job { return d.o.Queue.Fetch(id, w) })
}

// wait has a client wait for the job that begin finds or makes in the loop. Its
// end, or its cancel, leaves the job; the final answer is awaited all the same.
// Without one the daemon is stopping, and the client comes back to the next.
func (d *Desk) wait(lines *api.Lines, say func(*api.Response) error, begin func(*waiter.Waiter) *queue.Job) {
	w := waiter.New()
	var j *queue.Job // the loop's
	if !d.o.Loop.Post(func() { j = begin(w) }) {
		return
	}
	d.follow(lines, say, w, func(op string) {
		switch op {
		case "":
			d.o.Queue.Gone(j, w)
		case api.OpTaken:
			d.o.Queue.Taken(j)
		default:
			d.o.Queue.Leave(j, w) // whatever else it says means stop
		}
	})
}

// follow brings a client what a waiter hears, until the final answer. What the
// client says meanwhile is for said, in the loop; nothing is that it is gone.
func (d *Desk) follow(lines *api.Lines, say func(*api.Response) error, w *waiter.Waiter, said func(op string)) {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			var next api.Request
			if lines.Read(&next) != nil {
				next.Op = ""
			}
			d.o.Loop.Post(func() { said(next.Op) })
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
		case <-d.o.Loop.Done():
			return
		}
	}
}

// awaitTaken gives the client time to write what it got, and to say so.
func (d *Desk) awaitTaken(heard <-chan struct{}) {
	late := time.NewTimer(takenWait)
	defer late.Stop()
	select {
	case <-heard:
	case <-late.C:
	case <-d.o.Loop.Done():
	}
}

// serveOrder hands an order over and waits for the board's word, or for the
// order's end.
func (d *Desk) serveOrder(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	w := waiter.New()
	if d.o.Loop.Post(func() { d.o.Orders.Hand(req.Note, req.Decision, w) }) {
		d.follow(lines, say, w, func(string) { d.o.Orders.Leave(w) })
	}
}

// serveChallenge waits for the board's answer, or for the client to go away.
func (d *Desk) serveChallenge(req *api.Request, say func(*api.Response) error) {
	var final <-chan *api.Response
	if !d.o.Loop.Do(func() { final = d.o.Challenges.Ask(req.Text) }) {
		return
	}
	select {
	case r := <-final:
		_ = say(r)
	case <-d.o.Loop.Done():
	}
}

// serveRound passes a request on to whoever drives the rounds. A client that
// goes away does not wait any longer.
func (d *Desk) serveRound(ctx context.Context, lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	if d.o.Rounds == nil {
		_ = say(api.Fail(api.Usage, "touchmark-hostd has no [[watch]] rules: see docs/rounds.md"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		var next api.Request
		_ = lines.Read(&next) // whatever it says, or that it is gone, means stop
	}()
	_ = say(d.o.Rounds(ctx, req))
}
