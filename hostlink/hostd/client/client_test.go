package client

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
)

// TestCancelAsTheNextDaemonHears: whoever withdraws once the next daemon has
// the request withdraws it there; it is not taken for having nobody to ask.
// Each round is one chance for the two to meet.
func TestCancelAsTheNextDaemonHears(t *testing.T) {
	for range 10 {
		l, s := listening(t)
		ended := make(chan error, 1)
		go func() { _, err := s.Wait(&api.Request{Op: api.OpSign}); ended <- err }()
		hear(t, accept(t, l), api.OpSign).close(t)
		there := hear(t, accept(t, l), api.OpSign)
		s.Cancel()
		hear(t, there, api.OpCancel)
		if s.Left() {
			t.Fatal("left a daemon that was there")
		}
		if err := there.lines.Write(&api.Response{Final: true, OK: true}); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// TestCancelBeforeTheRequest: who changes his mind while the request is still being made withdraws it, and does not say so to
// a daemon that knows of no request yet.
func TestCancelBeforeTheRequest(t *testing.T) {
	l, s := listening(t)
	s.Cancel()
	ended := make(chan error, 1)
	go func() { _, err := s.Wait(&api.Request{Op: api.OpSign}); ended <- err }()
	d := hear(t, hear(t, accept(t, l), api.OpSign), api.OpCancel)
	if err := d.lines.Write(&api.Response{Final: true, Code: api.Interrupted}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || s.Left() {
		t.Error(err, s.Left())
	}
}

// TestLeaveWhileReturning: a session that nobody waits for any longer does not
// take up with a daemon that comes.
func TestLeaveWhileReturning(t *testing.T) {
	l, s := listening(t)
	accept(t, l).close(t)
	s.req, s.conn = &api.Request{Op: api.OpSign}, nil
	s.Leave()
	if s.again() || s.current() != nil {
		t.Error("it goes on")
	}
	if err := api.NewLines(accept(t, l).Conn).Read(new(api.Request)); err == nil {
		t.Error("the daemon was asked")
	}
}

// TestStuckDaemon: one that takes connections and is silent hangs nobody who asks it something.
func TestStuckDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, op := range []string{api.OpStatus, api.OpJobs, api.OpRound, api.OpApproval, api.OpApprove, api.OpWithdraw, api.OpMay, api.OpPublish, api.OpChallenge} {
		if d := patience(op); d < time.Minute || d > time.Hour {
			t.Errorf("%s is waited for for %v", op, d)
		}
		_, err := Daemon{Socket: path}.ask(t.Context(), &api.Request{Op: op}, time.Hour, 100*time.Millisecond)
		if api.CodeOf(err, 0) != api.NoDaemon {
			t.Errorf("%s of a daemon that is stuck: %v", op, err)
		}
	}
}

// TestStuckMeanwhile: a daemon that is stuck after it took a request ends every conversation that waits for it; one
// that is busy with people ends none.
func TestStuckMeanwhile(t *testing.T) {
	quick := pulse{time.Millisecond, time.Millisecond, 100 * time.Millisecond}
	l, s := listening(t)
	first := accept(t, l)
	s.conn.mind(quick)
	ended := make(chan error, 2)
	go func() { _, err := s.Wait(&api.Request{Op: api.OpSign}); ended <- err }()
	hear(t, first, api.OpSign)
	go func() {
		c, err := s.daemon.follow(&api.Request{Op: api.OpWatch}, quick)
		for err == nil {
			_, err = c.Next()
		}
		ended <- err
	}()
	for range 20 { // both are asked for, and what is asked beside them
		probe := accept(t, l)
		r := new(api.Request)
		if err := probe.lines.Read(r); err != nil {
			t.Fatal(err)
		}
		if err := probe.lines.Write(&api.Response{Final: r.Op == api.OpJobs, OK: true}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("given up while the daemon answers: %v", err)
	default:
	}
	for range cap(ended) { // from here on nobody is answered
		if err := <-ended; !errors.Is(err, ErrSilent) || api.CodeOf(err, 0) != api.NoDaemon {
			t.Errorf("of a daemon that is stuck: %v", err)
		}
	}
}

type daemon struct {
	net.Conn
	lines *api.Lines
}

func listening(t *testing.T) (net.Listener, *Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s, err := Daemon{Socket: path}.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.Return = maxReturn
	t.Cleanup(s.Close)
	return l, s
}

// maxReturn is far longer than any machine needs to come back in these tests.
const maxReturn = 1 << 40

func accept(t *testing.T, l net.Listener) *daemon {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &daemon{c, api.NewLines(c)}
}

func hear(t *testing.T, d *daemon, op string) *daemon {
	t.Helper()
	r := new(api.Request)
	if err := d.lines.Read(r); err != nil || r.Op != op {
		t.Fatalf("%q, %v; want %q", r.Op, err, op)
	}
	return d
}

func (d *daemon) close(t *testing.T) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSlow: who waits for a daemon that is late is told, once for each question, and gets the answer all the same; who has it
// at once is told nothing.
func TestSlow(t *testing.T) {
	l, s := listening(t)
	accept(t, l).close(t) // that session is of no use here
	slow := make(chan time.Duration, 1)
	d := Daemon{Socket: s.daemon.Socket, Slow: func(patience time.Duration) { slow <- patience }}
	for _, late := range []time.Duration{time.Millisecond, time.Hour} {
		ended := make(chan error, 1)
		go func() {
			_, err := d.ask(t.Context(), &api.Request{Op: api.OpStatus}, late, 2*time.Hour)
			ended <- err
		}()
		there := hear(t, accept(t, l), api.OpStatus)
		if late < time.Second && <-slow != 2*time.Hour {
			t.Error("the patience is another")
		}
		if err := there.lines.Write(&api.Response{Final: true, OK: true}); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || len(slow) != 0 {
			t.Errorf("late after %v: %v, told %d times", late, err, len(slow))
		}
	}
}

// TestSlowToBegin: who has asked for a signature is told, too, when the daemon does not even say that it heard.
func TestSlowToBegin(t *testing.T) {
	l, s := listening(t)
	there, slow := accept(t, l), make(chan time.Duration, 1)
	s.late, s.daemon.Slow = time.Millisecond, func(patience time.Duration) { slow <- patience }
	ended := make(chan error, 1)
	go func() { _, err := s.Wait(&api.Request{Op: api.OpSign}); ended <- err }()
	hear(t, there, api.OpSign)
	if <-slow != asking.patience {
		t.Error("the patience is another")
	}
	for _, r := range []*api.Response{{Event: &api.Event{State: "shown"}}, {Final: true, OK: true}} {
		if err := there.lines.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil || len(slow) != 0 {
		t.Errorf("%v, told %d times more", err, len(slow))
	}
}

// TestSlowMeanwhile: so is who waits for a person, when the daemon does not say on a second connection that it goes on.
func TestSlowMeanwhile(t *testing.T) {
	l, s := listening(t)
	accept(t, l).close(t)
	slow := make(chan time.Duration, 1)
	d := Daemon{Socket: s.daemon.Socket, Slow: func(patience time.Duration) { slow <- patience }}
	c, err := d.follow(&api.Request{Op: api.OpWatch}, pulse{time.Millisecond, time.Millisecond, 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	hear(t, accept(t, l), api.OpWatch)
	hear(t, accept(t, l), api.OpJobs)
	if <-slow != 2*time.Hour {
		t.Error("the patience is another")
	}
}
