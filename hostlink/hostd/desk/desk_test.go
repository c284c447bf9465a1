package desk

import (
	"context"
	"net"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
)

// askRound asks a daemon over a pipe; the client hangs up as soon as the request has begun, if it is to.
func askRound(t *testing.T, rounds func(context.Context, *api.Request) *api.Response, hangUp <-chan bool) *api.Response {
	t.Helper()
	here, there := net.Pipe()
	defer func() { _ = here.Close(); _ = there.Close() }()
	final := make(chan *api.Response, 1)
	d := New(Options{Rounds: rounds})
	go d.serveRound(t.Context(), api.NewLines(there), &api.Request{Op: api.OpRound, Action: api.RoundList}, func(r *api.Response) error {
		final <- r
		return nil
	})
	if hangUp != nil {
		<-hangUp
		_ = here.Close()
	}
	return <-final
}

// TestRoundRequests: they go to whoever drives the rounds, and end when the client goes away; without rules they say so.
func TestRoundRequests(t *testing.T) {
	if r := askRound(t, nil, nil); r.OK || r.Code != api.Usage {
		t.Errorf("without rules: %+v", r)
	}
	r := askRound(t, func(_ context.Context, req *api.Request) *api.Response {
		return &api.Response{Final: true, OK: true, Error: req.Action}
	}, nil)
	if !r.OK || r.Error != api.RoundList {
		t.Errorf("%+v", r)
	}
	begun := make(chan bool, 1)
	if r := askRound(t, func(ctx context.Context, _ *api.Request) *api.Response {
		begun <- true
		<-ctx.Done()
		return api.Fail(api.NoDaemon, "nobody waits")
	}, begun); r.Code != api.NoDaemon {
		t.Errorf("%+v", r)
	}
}

// TestLogBeforeAPerson: who reads a log at leisure is not cut off, and keeps no daemon from stopping.
func TestLogBeforeAPerson(t *testing.T) {
	l := logtest.New(logtest.NewParties().Policy)
	m := logtest.Must(mirror.Open(t.TempDir(), logtest.Must(verify.ParseTrust(l.TrustText()))))
	defer func() { _ = m.Store.Close() }()
	logtest.Must(m.Add(&message.Entries{Total: l.Size(), Entries: l.Entries}))
	loops := loop.New(loop.Timing{}, nil, nil)
	defer loops.Close()
	go func() {
		for {
			select {
			case f := <-loops.Next():
				f()
			case <-loops.Done():
				return
			}
		}
	}()
	mine, theirs := net.Pipe() // holds nothing that is not read
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	d := New(Options{Loop: loops, Mirror: m})
	go func() { defer close(served); d.client(ctx, theirs) }()
	logtest.Must(0, api.NewLines(mine).Write(&api.Request{Op: api.OpLog}))
	logtest.Must(mine.Read(make([]byte, 1)))
	cancel()
	<-served
	if readWait(api.OpLog) < time.Hour || readWait(api.OpStatus) > time.Minute {
		t.Error("a log is read by people, what is short by programs")
	}
}
