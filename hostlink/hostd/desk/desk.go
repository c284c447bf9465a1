// Package desk answers the clients of the host daemon: one request a connection, in the words of api.
package desk

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/challenges"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/news"
	"touchmark/hostlink/hostd/orders"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/trustfile"
)

// Options are what a desk is made of.
type Options struct {
	Loop       *loop.Loop
	Board      *conversation.Board
	Mirror     *mirror.Mirror
	Trust      *trustfile.Follower
	Queue      *queue.Queue
	Orders     *orders.Orders
	Challenges *challenges.Courier
	News       *news.News
	Published  *mirror.Publisher
	Publish    func()                                            // asks for a new edition of the published log, in the loop
	Rounds     func(context.Context, *api.Request) *api.Response // answers OpRound; nil: there are no rules
	Host       string                                            // name of this host's key
	Device     string
	Log        zerolog.Logger
}

// Desk answers clients, each on a goroutine of its own.
type Desk struct{ o Options }

// New makes a desk.
func New(o Options) *Desk { return &Desk{o} }

// maxClients bounds connections on the socket, and with them goroutines. It
// leaves room to look and to fetch when as many as may wait do.
const maxClients = 2 * queue.MaxJobs

// Serve answers clients until ctx ends.
func (d *Desk) Serve(ctx context.Context, l net.Listener) {
	socket.Serve(ctx, l, socket.Clients{
		Most:  maxClients,
		Serve: func(c net.Conn) { d.client(ctx, c) },
		Refuse: func(c net.Conn) {
			_ = api.NewLines(c).Write(api.Fail(api.DeviceFault, "%d clients are connected already: try again later", maxClients))
		},
		Failed: func(err error) { d.o.Log.Error().Err(err).Msg("socket") },
	})
}

// client serves one connection: one request, but for cancel.
func (d *Desk) client(ctx context.Context, c net.Conn) {
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
		d.answer(say, func() *api.Response { return d.o.Queue.May(&req) })
	case api.OpFetch:
		d.serveFetch(lines, &req, say)
	case api.OpJobs:
		d.answer(say, d.o.Queue.List)
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
		d.answer(say, func() *api.Response { return d.o.Queue.Approval(req.Job) })
	case api.OpApprove:
		d.answer(say, func() *api.Response { return d.o.Queue.Approve(req.Note) })
	case api.OpWithdraw:
		d.answer(say, func() *api.Response { return d.o.Queue.Withdraw(req.Job) })
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
func (d *Desk) answer(say func(*api.Response) error, f func() *api.Response) {
	var r *api.Response
	if d.o.Loop.Do(func() { r = f() }) {
		_ = say(r)
	}
}
