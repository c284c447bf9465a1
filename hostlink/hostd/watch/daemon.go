package watch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/sigformat"
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
	Read     func(i int) ([]byte, error) // gives the file of an item, if it is small; from any goroutine
}

// Answer is how a request ended, or that it goes on.
type Answer struct {
	Open       bool // nothing is known: ask again
	Result     round.Result
	Why        string
	Signatures []staging.Signature // of each item; if it failed, empty for those without one, or none at all
	Close      func(taken bool)    // must be called; taken: the daemon may forget the answer
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
	Log  zerolog.Logger
}

// Sign asks the daemon. When ctx ends it is left, and the job goes on.
func (d Socket) Sign(ctx context.Context, r *Request, armed func(), done func(*Answer)) (cancel func()) {
	s, err := client.Daemon{Socket: d.Path}.Open()
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
		a := d.wait(s, r)
		stop()
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

func (d Socket) wait(s *client.Session, r *Request) *Answer {
	items, err := d.items(r)
	if err != nil {
		return &Answer{Result: round.Refused, Why: err.Error()}
	}
	resp, err := s.Wait(&api.Request{Op: api.OpSign, Class: r.Class, Key: r.Key[:], Timeout: max(r.Patience, time.Second).Milliseconds(), Items: items, Partly: true})
	return d.judge(s, r, resp, err)
}

// items are what is sent of a request's: what the appliance can read and show to
// the operator goes whole, as from any other client.
func (d Socket) items(r *Request) ([]api.Item, error) {
	var files []client.File
	for i, it := range r.Items {
		format, known := sigformat.FormatOf(it.Format)
		if !known {
			return nil, fmt.Errorf("format %q is not known", it.Format)
		}
		_, state, err := staging.StateOf(it)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it.Name, err)
		}
		files = append(files, client.File{Name: it.Name, Format: format, State: state, Read: func() ([]byte, error) { return r.Read(i) }})
	}
	items, err := client.Items(files)
	for i := range items {
		if why := files[i].Unshown(items[i]); why != nil {
			d.Log.Warn().Err(why).Str("file", files[i].Name).Msg("the operator is shown its digest only")
		}
	}
	return items, err
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
	case resp.OK && (slices.ContainsFunc(resp.Signatures, empty) || len(resp.Signatures) != len(r.Items) || len(resp.Proofs) != len(r.Items)):
		return &Answer{Open: true, Why: fmt.Sprintf("%d signatures for %d files", len(resp.Signatures), len(r.Items))}
	case resp.OK:
		return &Answer{Result: round.Signed, Signatures: signaturesOf(resp)}
	case (resp.Code == api.MaySigned || resp.Code == api.Interrupted) && s.Job != "" && !d.over(s.Job):
		return &Answer{Open: true, Why: resp.Error}
	}
	result, ok := results[resp.Code]
	if !ok {
		result = round.Faulty
	}
	a := &Answer{Result: result, Why: resp.Error}
	if len(resp.Signatures) == len(r.Items) && len(resp.Proofs) == len(r.Items) {
		a.Signatures = signaturesOf(resp)
	}
	return a
}

func empty(b []byte) bool { return len(b) == 0 }

func signaturesOf(resp *api.Response) (all []staging.Signature) {
	for i := range resp.Signatures {
		all = append(all, staging.Signature{Signature: resp.Signatures[i], Proof: resp.Proofs[i]})
	}
	return all
}

// over reports whether the daemon says of a job that the log decided it. Then
// there is no signature to come.
func (d Socket) over(job string) bool {
	r, err := client.Daemon{Socket: d.Path}.Ask(&api.Request{Op: api.OpJobs})
	if err != nil {
		return false
	}
	i := slices.IndexFunc(r.Jobs, func(j api.Job) bool { return j.Job == job })
	return i >= 0 && r.Jobs[i].State == "ended"
}
