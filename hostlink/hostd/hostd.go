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
// the mirror's view. Clients have a goroutine each and hand it closures. The
// publisher has its own, so that publishing never delays a signature.
package hostd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
)

// Link is the line to the board; *serialport.Endpoint is one.
type Link interface {
	Send(ctx context.Context, sid uint32, channel int, msg []byte) error
	Events() <-chan serialport.Event
	Close() error
}

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
	Ended   func(Ended)                                       // hears of each request's end, in the loop: it must not wait; may be nil
	Rounds  func(context.Context, *api.Request) *api.Response // answers OpRound; nil: there are no rules
	Alive   func()                                            // is called by the loop whenever Beat has passed, as long as that goes round; may be nil
	Beat    time.Duration
}

// Daemon is a running daemon. Fields without a comment belong to Run.
type Daemon struct {
	o      Options // read only
	log    zerolog.Logger
	link   Link
	mirror *mirror.Mirror
	trust  *trustfile.Follower
	pub    *mirror.Publisher
	loop   *loop.Loop

	linkText string        // why there is no session
	conv     *conversation // nil without a session
	jobs     []*job        // open, in order; one at a time is with the board
	past     []*job        // ended, and nobody has taken the answer; oldest first
	orders   []*handed     // of clients that wait for what becomes of them
	evidence string        // what contradicts the log, "" when nothing does
	unpacker *message.Unpacker
	watchers map[*watcher]bool
	opens    chan string // rules of which the board's operator wants a round; followRounds takes them
	stopping bool

	spool     *spool.Spool  // what an accepted job is kept in
	disk      *loop.Errands // writes to it
	accepted  uint64        // number of the job accepted last
	overtakes bool          // a job whose client has not come back yet is passed over
}

// New opens the mirror and checks what is in it.
func New(o Options) (*Daemon, error) {
	m, err := mirror.Open(o.State, o.Trust)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		o: o, log: o.Log, mirror: m, trust: &trustfile.Follower{Mirror: m, Next: o.Renew, Log: o.Log}, linkText: "not opened yet",
		loop: loop.New(o.Timing, o.Clock, o.After), disk: loop.NewErrands(maxErrands), watchers: map[*watcher]bool{},
		opens: make(chan string, round.MaxRules), unpacker: message.NewUnpacker(),
	}
	if d.evidence, err = mirror.LoadEvidence(o.State); err != nil {
		return nil, errors.Join(err, m.Store.Close())
	}
	if err := d.resume(); err != nil {
		return nil, errors.Join(err, m.Store.Close())
	}
	d.pub = mirror.NewPublisher(o.State, o.Publish, m.Store, o.Log)
	return d, nil
}

// Run serves clients of l over link until ctx ends. It closes both and the
// mirror; the published log is current when it returns.
func (d *Daemon) Run(ctx context.Context, link Link, l net.Listener) error {
	d.link = link
	var wg sync.WaitGroup
	wg.Go(d.pub.Run)
	wg.Go(d.disk.Run)
	d.publish()
	serveCtx, stop := context.WithCancel(ctx)
	wg.Go(func() { d.serve(serveCtx, l) })
	if d.o.Rounds != nil {
		look := time.NewTicker(d.loop.Waits.RoundsLook)
		defer look.Stop()
		wg.Go(func() { d.followRounds(serveCtx, look.C) })
	}
	if d.evidence != "" {
		d.log.Error().Str("evidence", d.evidence).Msg("nothing is signed until this is looked at")
	}
	d.rearm()
	d.run(ctx)
	stop()
	d.quit()
	d.loop.Close()
	d.disk.Close()
	err := link.Close()
	d.pub.Close()
	wg.Wait()
	return errors.Join(err, d.mirror.Store.Close())
}

// quit takes from the board's display what can still be withdrawn. The jobs
// stay open: their clients wait for the next daemon, which goes on with them.
func (d *Daemon) quit() {
	for _, j := range d.jobs {
		if j.record != nil && !j.kept {
			d.keep(j)
		}
		if !j.submitted || d.armed(j) || !d.ready() {
			continue
		}
		if n, err := d.cancelNote(j); err == nil {
			d.send(n)
		}
	}
	d.stopping = true
}

func (d *Daemon) run(ctx context.Context) {
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
		case ev, ok := <-d.link.Events():
			if !ok {
				return
			}
			d.fromLink(ctx, ev)
		}
		d.tellWatchers()
	}
}

// send hands a message to the link, for the session of this conversation. A failure is not an error here: the link
// goes down or the answer does not come, and both are handled.
func (d *Daemon) send(body []byte) {
	if d.conv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.loop.Waits.SendWait)
	defer cancel()
	if err := d.link.Send(ctx, d.conv.sid, interactive, body); err != nil {
		d.log.Warn().Err(err).Msg("message not sent")
	}
}

// interactive is the session channel for everything a host sends
// (docs/spec/session.md).
const interactive = 0

// signed makes a note of text with the host key. The text comes from Marshal:
// nil means a programming error, not a bad input.
func (d *Daemon) signed(text []byte) ([]byte, error) {
	n, err := message.SignNote(text, d.o.Key)
	if err != nil {
		return nil, fmt.Errorf("sign with the host key: %w", err)
	}
	return n, nil
}

func nonce() (n [16]byte) {
	rand.Read(n[:]) // never fails: crypto/rand ends the program instead
	return n
}

// alarm records what contradicts the log and stops all signing, until a person
// removes the record.
func (d *Daemon) alarm(ev *mirror.Evidence) {
	d.log.Error().Str("kind", ev.Kind).Msg(ev.Text)
	if d.evidence == "" {
		d.evidence = ev.Text
	}
	if err := ev.Save(d.o.State, d.loop.Now()); err != nil {
		d.log.Error().Err(err).Msg("evidence not saved")
	}
	for len(d.jobs) > 0 {
		d.decide(d.jobs[0], d.refuseEvidence())
	}
}

func (d *Daemon) refuseEvidence() *api.Response {
	return api.Fail(api.Evidence, "the appliance's log contradicts this host's mirror (%s): nothing is signed; see \"Evidence\" in the host guide", d.evidence)
}

// publish asks for a new edition of the published log.
func (d *Daemon) publish() {
	if cp, note := d.mirror.Checkpoint(); cp != nil {
		d.pub.Want(note, cp.Size)
	}
}
