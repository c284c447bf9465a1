// Package client talks to touchmark-hostd over its socket (package api). A
// sign request survives the daemon: when the connection ends without an answer,
// the client waits for the next daemon and repeats the request, whose random
// key makes it the same job.
//
// Errors are *api.Error: they carry the exit code for a command line.
package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"touchmark/hostlink/hostd/api"
)

// Daemon is touchmark-hostd, by its socket.
type Daemon struct {
	Socket string
	// Slow is called when it has not answered for some seconds what it can answer at
	// once, with how long it is waited for in all. It may be nil.
	Slow func(patience time.Duration)
}

// Conn is one connection to the daemon.
type Conn struct {
	net.Conn
	lines  *api.Lines
	daemon Daemon
	open   context.Context // until Close
	end    context.CancelFunc
	stuck  atomic.Bool // the daemon was found to be, and the connection closed
}

// Dial connects, or says why not and what to do.
func (d Daemon) Dial() (*Conn, error) {
	c, err := net.Dial("unix", d.Socket)
	switch {
	case err == nil:
		open, end := context.WithCancel(context.Background())
		return &Conn{Conn: c, lines: api.NewLines(c), daemon: d, open: open, end: end}, nil
	case errors.Is(err, syscall.EAGAIN): // it takes no connections out of its queue, which is full
		return nil, d.silent()
	case errors.Is(err, fs.ErrPermission):
		return nil, api.Errorf(api.NoDaemon, "no permission to use %s: join the group that owns the socket", d.Socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, api.Errorf(api.NoDaemon, "touchmark-hostd is not running (no answer on %s): start it, or name its socket in $TOUCHMARK_SOCKET", d.Socket)
	}
	return nil, api.Errorf(api.NoDaemon, "cannot reach touchmark-hostd on %s: %w", d.Socket, err)
}

// Say sends a request.
func (c *Conn) Say(r *api.Request) error {
	switch err := c.lines.Write(r); {
	case err == nil:
		return nil
	case c.stuck.Load(), errors.Is(err, os.ErrDeadlineExceeded):
		return c.daemon.silent()
	}
	return errGone
}

// Next reads one response; the daemon's end before a final one is an error.
func (c *Conn) Next() (*api.Response, error) {
	r := new(api.Response)
	err := c.lines.Read(r)
	switch {
	case err == nil:
		return r, nil
	case c.stuck.Load(), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, c.daemon.silent()
	case errors.Is(err, api.ErrLine):
		return nil, api.Errorf(api.Internal, "touchmark-hostd on %s: %w", c.daemon.Socket, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return nil, errGone
	}
	return nil, api.Errorf(api.NoDaemon, "touchmark-hostd on %s: %w", c.daemon.Socket, err)
}

// errGone says that the daemon ended the connection without an answer.
var errGone = api.Errorf(api.NoDaemon, "touchmark-hostd stopped before it answered: start it again")

// Ask sends a request that has one answer, for which nobody is waited. A final answer that
// is no success is an error too; so is none, by a daemon that is stuck.
func (d Daemon) Ask(req *api.Request) (*api.Response, error) {
	if req.Action == api.RoundWait {
		return nil, api.Errorf(api.Internal, "a round is waited for with Follow: people have no patience that is known here")
	}
	return d.ask(context.Background(), req, late, patience(req.Op))
}

// patience is far more than a busy daemon takes for an answer.
func patience(op string) time.Duration {
	switch op {
	case api.OpChallenge: // the board rations them, and commits first
		return 10 * time.Minute
	case api.OpPublish: // a whole log, to a slow disk
		return time.Hour
	}
	return 2 * time.Minute // what it knows, one question to the board included
}

// late is how long a daemon has to answer what it can answer at once before a person is told
// that it has not.
const late = 5 * time.Second

func (d Daemon) ask(ctx context.Context, req *api.Request, late, patience time.Duration) (*api.Response, error) {
	c, err := d.Dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // the conversation is over either way
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer d.tell(late, patience)()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errGone
	}
	if err := c.Say(req); err != nil {
		return nil, err
	}
	r, err := c.Next()
	if err != nil {
		return nil, err
	}
	return r, Said(r)
}

// tell calls Slow after a time, unless it is over by then. When over returns, so has Slow; it may be called again.
func (d Daemon) tell(late, patience time.Duration) (over func()) {
	told := make(chan struct{})
	t := time.AfterFunc(late, func() {
		defer close(told)
		if d.Slow != nil {
			d.Slow(patience)
		}
	})
	return sync.OnceFunc(func() {
		if !t.Stop() {
			<-told
		}
	})
}

// Said is the daemon's error, if it reports one.
func Said(r *api.Response) error {
	if r.OK {
		return nil
	}
	return api.Errorf(r.Code, "%s", r.Error)
}

// Session is a client that waits for a job, for as long as it takes and over
// any number of daemons.
type Session struct {
	Return time.Duration     // how long to wait for a daemon that went away; 0: not at all
	Event  func(*api.Event)  // called by Wait; may be nil
	Lost   func(first error) // called by Wait when it begins to wait for a daemon; may be nil
	Job    string            // its identity; valid after Wait
	Kept   bool              // the daemon keeps it on disk; valid after Wait

	daemon Daemon
	late   time.Duration // when Slow is told that there is not even a first word
	req    *api.Request

	mu        sync.Mutex // guards what follows
	conn      *Conn      // nil while there is no daemon
	cancelled bool
	left      chan struct{} // closed when nobody wants to wait any longer
}

// Open connects for a sign or fetch request; Wait sends it.
func (d Daemon) Open() (*Session, error) {
	c, err := d.Dial()
	if err != nil {
		return nil, err
	}
	c.mind(asking)
	return &Session{daemon: d, late: late, conn: c, left: make(chan struct{})}, nil
}

// Cancel asks the daemon to withdraw the job. Its answer still counts, because
// the job may be armed already. With nobody to ask it is Leave. Before Wait it is
// remembered: a daemon hears of a job before it hears that nobody wants it.
func (s *Session) Cancel() {
	s.mu.Lock()
	c, early := s.conn, s.req == nil
	s.cancelled = true
	s.mu.Unlock()
	switch {
	case early:
	case c == nil:
		s.Leave()
	default:
		_ = c.Say(&api.Request{Op: api.OpCancel}) // if this fails, so does the read in Wait
	}
}

// Leave ends Wait at once.
func (s *Session) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.left:
		return
	default:
	}
	close(s.left)
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// Taken tells the daemon that the answer has been used, so that it need not
// keep it.
func (s *Session) Taken() {
	if c := s.current(); c != nil {
		_ = c.Say(&api.Request{Op: api.OpTaken}) // else it is offered once more
	}
}

// Close ends the session.
func (s *Session) Close() {
	if c := s.current(); c != nil {
		_ = c.Close() // the conversation is over either way
	}
}

func (s *Session) current() *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Left reports whether Leave was called.
func (s *Session) Left() bool {
	select {
	case <-s.left:
		return true
	default:
		return false
	}
}

// maxLosses bounds how many daemons may die under one request.
const maxLosses = 32

// Wait sends the request and follows it to its final answer, which may be a
// refusal. An error means that there is none.
func (s *Session) Wait(req *api.Request) (*api.Response, error) {
	heard := s.daemon.tell(s.late, asking.patience)
	defer heard()
	err := s.begin(req)
	for losses := 0; ; {
		var r *api.Response
		if err == nil {
			r, err = s.current().Next()
		}
		switch {
		case err == nil:
			heard()
			if s.hear(r) {
				return r, nil
			}
		case !errors.Is(err, errGone) || s.Left() || losses == maxLosses:
			return nil, err
		default:
			losses++
			err = s.rejoin(err)
			if err != nil {
				return nil, err
			}
		}
	}
}

// begin sends the request, and that it is cancelled if it is by now.
func (s *Session) begin(req *api.Request) error {
	err := s.current().Say(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.req = req
	if err == nil && s.cancelled {
		err = s.conn.Say(&api.Request{Op: api.OpCancel})
	}
	return err
}

// hear takes one response and reports whether it is the last.
func (s *Session) hear(r *api.Response) (last bool) {
	if e := r.Event; e != nil {
		if e.Job != "" {
			s.Job = e.Job
		}
		s.Kept = s.Kept || e.State == api.EventAccepted
		if s.Event != nil {
			s.Event(e)
		}
	}
	if r.Final && r.Job != "" {
		s.Job = r.Job
	}
	return r.Final
}

// rejoin waits for the next daemon and repeats the request, and the cancel if
// there was one.
func (s *Session) rejoin(lost error) error {
	s.mu.Lock()
	_ = s.conn.Close()
	s.conn = nil
	s.mu.Unlock()
	if s.Return > 0 && s.Lost != nil {
		s.Lost(lost)
	}
	until := time.NewTimer(s.Return)
	defer until.Stop()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		select {
		case <-until.C:
			return lost
		case <-s.left:
			return lost
		case <-time.After(pause):
		}
		if s.again() {
			return nil
		}
	}
}

// The pauses between looking for a daemon.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// again makes the connection the session's before the daemon can hear of the
// request: whoever cancels or leaves from then on finds it.
func (s *Session) again() bool {
	c, err := s.daemon.Dial()
	if err != nil {
		return false
	}
	c.mind(asking)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Left() || c.Say(s.req) != nil { // or it is gone again
		_ = c.Close()
		return false
	}
	s.conn = c
	if s.cancelled {
		_ = c.Say(&api.Request{Op: api.OpCancel}) // if this fails, so does the read in Wait
	}
	return true
}
