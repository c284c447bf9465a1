package watch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
	"touchmark/hostlink/message"
)

// Request is one job for the daemon. The same Key is the same job.
type Request struct {
	Key      round.Key
	Class    string
	Patience time.Duration // until it is withdrawn
	Items    []round.Item
}

// Answer is how a request ended, or that it goes on.
type Answer struct {
	Open       bool // nothing is known: ask again
	Result     round.Result
	Why        string
	Signatures []staging.Signature
	Close      func(taken bool) // must be called; taken: the daemon may forget the answer
}

// Daemon gets jobs signed. Sign calls armed when the appliance says that a job
// is, and done once; both from other goroutines. What it returns withdraws the
// job if it still can be: done follows either way.
type Daemon interface {
	Sign(ctx context.Context, r *Request, armed func(), done func(*Answer)) (cancel func())
}

// Socket is the daemon that listens on a unix socket.
type Socket struct {
	Path string
	Jobs *sync.WaitGroup // counts requests
}

// Sign asks the daemon. When ctx ends it is left, and the job goes on.
func (d Socket) Sign(ctx context.Context, r *Request, armed func(), done func(*Answer)) (cancel func()) {
	s, err := client.Open(d.Path)
	if err != nil {
		d.Jobs.Go(func() { done(&Answer{Open: true, Close: func(bool) {}}) })
		return func() {}
	}
	s.Event = func(e *api.Event) {
		if e.State == message.EventArmed || e.State == message.EventTouch {
			armed()
		}
	}
	d.Jobs.Go(func() {
		stop := context.AfterFunc(ctx, s.Leave)
		resp, err := s.Wait(r.asRequest())
		stop()
		a := d.judge(s, r, resp, err)
		a.Close = func(taken bool) {
			if taken {
				s.Taken()
			}
			s.Close()
		}
		done(a)
	})
	return s.Cancel
}

func (r *Request) asRequest() *api.Request {
	req := &api.Request{Op: api.OpSign, Class: r.Class, Key: r.Key[:], Timeout: max(r.Patience, time.Second).Milliseconds()}
	for _, it := range r.Items {
		req.Items = append(req.Items, api.Item{Name: it.Name, Format: it.Format, Digest: it.Digest, Size: it.Size, State: it.State})
	}
	return req
}

// results says what exit codes mean for a queue; others are faults.
var results = map[int]round.Result{
	api.Denied: round.Denied, api.TimedOut: round.Late, api.Interrupted: round.Withdrawn, api.Refused: round.Refused, api.Usage: round.Refused,
	api.BadInput: round.Refused, api.Evidence: round.Refused, api.MaySigned: round.Lost,
}

func (d Socket) judge(s *client.Session, r *Request, resp *api.Response, err error) *Answer {
	switch {
	case err != nil:
		return &Answer{Open: true}
	case resp.OK && len(resp.Signatures) == len(r.Items) && len(resp.Proofs) == len(r.Items):
		a := &Answer{Result: round.Signed}
		for i := range resp.Signatures {
			a.Signatures = append(a.Signatures, staging.Signature{Signature: resp.Signatures[i], Proof: resp.Proofs[i]})
		}
		return a
	case resp.OK:
		return &Answer{Open: true, Why: fmt.Sprintf("%d signatures for %d files", len(resp.Signatures), len(r.Items))}
	case (resp.Code == api.MaySigned || resp.Code == api.Interrupted) && s.Job != "" && !d.over(s.Job):
		return &Answer{Open: true, Why: resp.Error}
	}
	result, ok := results[resp.Code]
	if !ok {
		result = round.Faulty
	}
	return &Answer{Result: result, Why: resp.Error}
}

// over reports whether the daemon says of a job that the log decided it. Then
// there is no signature to come.
func (d Socket) over(job string) bool {
	r, err := client.Ask(d.Path, &api.Request{Op: api.OpJobs})
	if err != nil {
		return false
	}
	i := slices.IndexFunc(r.Jobs, func(j api.Job) bool { return j.Job == job })
	return i >= 0 && r.Jobs[i].State == "ended"
}
