// Package line is the board's end of the conversation with the host: which session
// there is, who said hello in it, what is on its way to him, and how much of the
// log he has. It keeps a process that parses the wire alive.
//
// A Line is owned by the station's loop. A new session begins unknown: nothing is
// sent before a host known to the policy has signed a hello, which is for the
// station to judge.
package line

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/station/linkproc"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
)

// Config is what a line is made of. Its functions are called in the loop, but for
// Open.
type Config struct {
	Open    func(context.Context) (linkproc.Link, error) // starts a link process, one after the other
	Store   past.Log
	Log     zerolog.Logger
	HostLog zerolog.Logger   // of what a host can cause at will
	Changed func()           // a session began or ended: nobody has said hello
	Heard   func(msg []byte) // a message of the host's, whoever he is
}

// Line is the conversation with the host.
type Line struct {
	cfg     Config
	loop    loop.Loop
	out     chan linkpipe.Msg // to the writer of the present link process, nil when there is none
	bulk    chan linkpipe.Msg // likewise; written when nothing is in out
	up      bool              // a session exists
	sid     uint32            // and this is its id on the line
	cut     func()            // ends the present link process
	session uint64            // counts them
	host    string            // who said hello in it, "" before
	sent    uint64            // leaves that this session's host has or was sent
	wg      sync.WaitGroup
}

// New makes a line without a link process.
func New(cfg Config) *Line { return &Line{cfg: cfg} }

// Message channels of a session: interactive and bulk (docs/spec/session.md).
const (
	interactive = 0
	bulk        = 1
)

// restart keeps a link process that cannot start from spinning.
const restart = time.Second

// Start keeps a link process alive until ctx ends: when it dies, a new one follows.
func (l *Line) Start(ctx context.Context, in loop.Loop) {
	l.loop = in
	l.wg.Go(func() {
		for ctx.Err() == nil {
			err := l.one(ctx)
			l.loop.PostHost(l.down)
			if ctx.Err() == nil {
				l.cfg.Log.Warn().Err(err).Msg("link process ended; starting another")
			}
			select {
			case <-ctx.Done():
			case <-time.After(restart):
			}
		}
	})
}

// Wait waits for the link process to have ended.
func (l *Line) Wait() { l.wg.Wait() }

// one runs one link process to its end.
func (l *Line) one(ctx context.Context) error {
	p, err := l.cfg.Open(ctx)
	if err != nil {
		return err
	}
	return linkproc.Run(ctx, p,
		func(out, bulk chan linkpipe.Msg, cut func()) {
			l.loop.PostHost(func() { l.out, l.bulk, l.cut = out, bulk, cut })
		},
		func(m linkpipe.Msg) { l.loop.PostHost(func() { l.take(m) }) })
}

func (l *Line) down() {
	l.out, l.bulk, l.up, l.host = nil, nil, false, ""
	l.cfg.Changed()
}

// take takes one message of the link process.
func (l *Line) take(m linkpipe.Msg) {
	switch m.Kind {
	case linkpipe.Up:
		l.up, l.host, l.sent = true, "", 0
		l.session++
		l.sid = m.SID
		l.dropQueued()
		l.cfg.Changed()
	case linkpipe.Down:
		if !l.up { // none could be made: the host speaks another version
			l.cfg.HostLog.Warn().Str("link", m.Text).Send()
		}
		l.up, l.host = false, ""
		l.cfg.Changed()
	case linkpipe.Message:
		l.cfg.Heard(m.Body)
	case linkpipe.Device, linkpipe.Log:
		l.cfg.HostLog.Info().Str("link", m.Text).Send()
	}
}

// dropQueued forgets what waits to be written: it was for the session before.
func (l *Line) dropQueued() {
	for {
		select {
		case <-l.out:
		case <-l.bulk:
		default:
			return
		}
	}
}

// Up reports whether there is a session.
func (l *Line) Up() bool { return l.up }

// Session tells sessions from each other.
func (l *Line) Session() uint64 { return l.session }

// Host is who said hello in this session, "" before.
func (l *Line) Host() string { return l.host }

// Greet says who is there.
func (l *Line) Greet(host string) { l.host = host }

// Send queues a message for the host that said hello; without one it is dropped,
// because whoever comes next asks for what it lacks.
func (l *Line) Send(body []byte) {
	if l.host != "" {
		l.transmit(interactive, body)
	}
}

// Answer queues a message for whoever is there, hello or not.
func (l *Line) Answer(body []byte) { l.transmit(interactive, body) }

func (l *Line) transmit(channel int, body []byte) {
	if l.out == nil || !l.up || body == nil {
		return
	}
	queue := l.out
	if channel == bulk {
		queue = l.bulk
	}
	select {
	case queue <- linkpipe.Msg{Kind: linkpipe.Message, SID: l.sid, Channel: channel, Body: body}:
	default:
		l.cfg.HostLog.Warn().Msg("the host does not read: its session ends")
		l.cut()
		l.down()
	}
}

// Fetched answers with the entries from an index on, as many as one message
// holds. An error is the log's, which cannot be read.
func (l *Line) Fetched(from uint64) error { return l.entries(from, bulk) }

// Has notes how many leaves the host has.
func (l *Line) Has(size uint64) { l.sent = max(l.sent, size) }

// Push sends the host the leaves it lacks, once it has said what it has. An error
// is the log's, which cannot be read.
func (l *Line) Push() error {
	if l.host == "" || l.sent >= l.cfg.Store.Size() {
		return nil
	}
	return l.entries(l.sent, interactive)
}

// entries sends entries from an index on.
func (l *Line) entries(from uint64, channel int) error {
	total := l.cfg.Store.Size()
	m := message.Entries{Start: from, Total: total}
	room := message.MaxMessage - message.EntriesOverhead
	for i := from; i < total && len(m.Entries) < message.MaxEntries; i++ {
		e, err := l.cfg.Store.Entry(i)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if room -= len(e) + 12; room < 0 {
			break
		}
		m.Entries = append(m.Entries, e)
	}
	if len(m.Entries) == 0 {
		return nil
	}
	l.Has(from + uint64(len(m.Entries)))
	if l.host != "" {
		l.transmit(channel, m.Marshal())
	}
	return nil
}
