package hostd

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/socket"
)

// flaky is a listener that fails before each connection.
type flaky struct {
	net.Listener
	failed bool
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.failed = !l.failed; l.failed {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestSocketRecovers: a daemon that cannot take a connection takes the next.
func TestSocketRecovers(t *testing.T) {
	w := newWorld(t)
	w.stop()
	l := &flaky{Listener: must(socket.Listen(w.socket, 0o600))}
	d := must(New(w.options()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, newBoard(t), l) }()
	for range 2 {
		w.ask(&api.Request{Op: api.OpJobs}).expect(api.OK, "")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAlive: it is the loop itself that says it goes round, and it says so again and again: the count has no lock, which
// the race detector would miss elsewhere.
func TestAlive(t *testing.T) {
	w := newWorld(t)
	w.stop()
	o, n, thrice := w.options(), 0, make(chan struct{})
	o.Beat, o.Alive = time.Millisecond, func() {
		if n++; n == 3 {
			close(thrice)
		}
	}
	w.d = must(New(o))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	l := must(socket.Listen(w.socket, 0o600))
	go func() { ended <- w.d.Run(ctx, newBoard(t), l) }()
	<-thrice
	w.look(func() { n = -1 })
	cancel()
	if err := <-ended; err != nil || n < -1 {
		t.Error(n, err)
	}
}
