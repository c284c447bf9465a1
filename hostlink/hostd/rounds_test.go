package hostd

import (
	"context"
	"net"
	"testing"

	"touchmark/hostlink/hostd/api"
)

// askRound asks a daemon over a pipe; the client hangs up as soon as the request has begun, if it is to.
func askRound(t *testing.T, rounds func(context.Context, *api.Request) *api.Response, hangUp <-chan bool) *api.Response {
	t.Helper()
	here, there := net.Pipe()
	defer func() { _ = here.Close(); _ = there.Close() }()
	final := make(chan *api.Response, 1)
	d := &Daemon{o: Options{Rounds: rounds}}
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
		return fail(api.NoDaemon, "nobody waits")
	}, begun); r.Code != api.NoDaemon {
		t.Errorf("%+v", r)
	}
}
