// Package hostd is the host daemon: it talks to the appliance over the serial
// link, mirrors and checks its log, gets files signed for local clients and
// publishes the log.
//
// # What it believes
//
// Whoever sits on the cable can forge messages. So events, refusals and "done"
// are hints, and a signature is given out only if everything about it was
// verified: the intent entry stands in the mirror and under a checkpoint with
// the TPM's line, the announced digest and time are the signature's, and the
// signature verifies over the hash state with the pinned certificate. The
// mirror only grows; an entry or checkpoint that contradicts it is evidence:
// it is kept, and nothing is signed until a person has looked at it.
//
// # Owners
//
// One goroutine, Run's, owns the conversation with the board, the queue and
// the mirror's view (loop). Clients have a goroutine each (desk) and hand it closures. The
// publisher has its own, so that publishing never delays a signature.
//
// # Rooms
//
// This package only makes them and tells each what concerns it: what the board says comes
// from conversation and goes to queue, orders, challenges and announce; what clients ask
// comes from desk and goes there too.
package hostd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/announce"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/challenges"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/desk"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/news"
	"touchmark/hostlink/hostd/orders"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/verify"
)

// Options are what a daemon is made of; Timing, Clock and After have defaults.
type Options struct {
	State   string // directory of the mirror
	Publish string // tlog-tiles directory, "" for none
	Trust   *verify.Trust
	Renew   func() ([]byte, error) // the trust file's text if that is another by now (trustfile.File); nil: it never changes
	Key     note.Signer            // the host's
	Device  string                 // for status
	Grace   time.Duration
	Log     zerolog.Logger
	Clock   func() time.Time
	After   func(time.Duration, func()) *time.Timer // starts timers
	Timing  loop.Timing
	Ended   func(queue.Ended)                                 // hears of each request's end, in the loop: it must not wait; may be nil
	Rounds  func(context.Context, *api.Request) *api.Response // answers OpRound; nil: there are no rules
	Alive   func()                                            // is called by the loop whenever Beat has passed, as long as that goes round; may be nil
	Beat    time.Duration
}

// Daemon is a running daemon. What its rooms hold belongs to the loop, but for what desk and pub do.
type Daemon struct {
	o          Options // read only
	loop       *loop.Loop
	mirror     *mirror.Mirror
	trust      *trustfile.Follower
	pub        *mirror.Publisher
	board      *conversation.Board
	queue      *queue.Queue
	orders     *orders.Orders
	challenges *challenges.Courier
	rounds     *announce.Rounds
	news       *news.News
	desk       *desk.Desk
}

// jobsDir in the state directory holds the jobs that were accepted and whose
// end no client has taken.
const jobsDir = "jobs"

// New opens the mirror and checks what is in it.
func New(o Options) (*Daemon, error) {
	m, err := mirror.Open(o.State, o.Trust)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		o: o, loop: loop.New(o.Timing, o.Clock, o.After), mirror: m,
		trust: &trustfile.Follower{Mirror: m, Next: o.Renew, Log: o.Log}, news: news.New(),
	}
	if err := d.furnish(); err != nil {
		return nil, errors.Join(err, m.Store.Close())
	}
	d.pub = mirror.NewPublisher(o.State, o.Publish, m.Store, o.Log)
	d.desk = desk.New(desk.Options{
		Loop: d.loop, Board: d.board, Mirror: m, Trust: d.trust, Queue: d.queue, Orders: d.orders, Challenges: d.challenges, News: d.news,
		Published: d.pub, Publish: d.publish, Rounds: o.Rounds, Host: o.Key.Name(), Device: o.Device, Log: o.Log,
	})
	return d, nil
}

// furnish makes the board and who asks it for something.
func (d *Daemon) furnish() (err error) {
	d.board, err = conversation.New(conversation.Options{State: d.o.State, Mirror: d.mirror, Key: d.o.Key, Loop: d.loop, Log: d.o.Log, Hooks: d.hooks()})
	if err != nil {
		return err
	}
	d.orders = &orders.Orders{Loop: d.loop, Board: d.board, Mirror: d.mirror}
	d.challenges = &challenges.Courier{Loop: d.loop, Board: d.board, Mirror: d.mirror, Log: d.o.Log}
	d.rounds = announce.New(announce.Options{Serve: d.o.Rounds, Loop: d.loop, Board: d.board, Origin: d.o.Trust.Origin, Log: d.o.Log})
	d.queue, err = queue.New(queue.Options{
		Dir: filepath.Join(d.o.State, jobsDir), Loop: d.loop, Board: d.board, Mirror: d.mirror, Trust: d.trust, Log: d.o.Log, Key: d.o.Key,
		Device: d.o.Device, Grace: d.o.Grace, Publish: d.publish, Ended: d.o.Ended, News: d.news,
	})
	return err
}

// Run serves clients of l over link until ctx ends. It closes both and the
// mirror; the published log is current when it returns.
func (d *Daemon) Run(ctx context.Context, link conversation.Link, l net.Listener) error {
	d.board.Use(link)
	var wg sync.WaitGroup
	wg.Go(d.pub.Run)
	wg.Go(d.queue.Write)
	d.publish()
	serveCtx, stop := context.WithCancel(ctx)
	wg.Go(func() { d.desk.Serve(serveCtx, l) })
	if d.o.Rounds != nil {
		look := time.NewTicker(d.loop.Waits.RoundsLook)
		defer look.Stop()
		wg.Go(func() { d.rounds.Follow(serveCtx, look.C) })
	}
	if why := d.board.Evidence(); why != "" {
		d.o.Log.Error().Str("evidence", why).Msg("nothing is signed until this is looked at")
	}
	d.queue.Start()
	d.run(ctx, link)
	stop()
	d.queue.Quit()
	d.board.Stop()
	d.loop.Close()
	d.queue.Close()
	err := link.Close()
	d.pub.Close()
	wg.Wait()
	return errors.Join(err, d.mirror.Store.Close())
}

func (d *Daemon) run(ctx context.Context, link conversation.Link) {
	defer d.loop.Drain()
	var beat <-chan time.Time
	if d.o.Alive != nil {
		ticker := time.NewTicker(d.o.Beat)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat:
			d.o.Alive()
		case f := <-d.loop.Next():
			f()
		case ev, ok := <-link.Events():
			if !ok {
				return
			}
			d.board.FromLink(ev)
		}
		if err := d.news.Tell(d.desk.Snapshot); err != nil {
			d.o.Log.Error().Err(err).Msg("snapshot")
		}
	}
}

// Snapshot is what the daemon knows now: its status and the jobs that go on. The
// board is not asked. It is nil when the daemon has stopped.
func (d *Daemon) Snapshot() *api.Response {
	var r *api.Response
	if !d.loop.Do(func() { r = d.desk.Snapshot() }) {
		return nil
	}
	return r
}

// publish asks for a new edition of the published log.
func (d *Daemon) publish() {
	if cp, note := d.mirror.Checkpoint(); cp != nil {
		d.pub.Want(note, cp.Size)
	}
}
