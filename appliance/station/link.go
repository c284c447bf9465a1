package station

import (
	"context"
	"fmt"
	"sync"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/linkproc"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
)

// linkState is the conversation with the host. A new session begins unknown:
// nothing is sent back before a host known to the policy has signed a hello.
type linkState struct {
	out     chan linkpipe.Msg // to the writer of the present link process, nil when there is none
	bulk    chan linkpipe.Msg // likewise; written when nothing is in out
	up      bool              // a session exists
	sid     uint32            // and this is its id on the line
	cut     func()            // ends the present link process
	session uint64            // counts them
	host    string            // who said hello in it, "" before
	sent    uint64            // leaves that this session's host has or was sent

	ration    intake.Ration      // of hellos
	waiting   *message.HelloNote // the newest that could not be answered yet
	told      *message.HelloNote // the newest that was answered without an attestation
	timed     bool               // a timer will take it up
	attesting bool               // the TPM is at work for one

	wg sync.WaitGroup
}

func (l *linkState) wait() { l.wg.Wait() }

// Message channels of a session: interactive and bulk (docs/spec/session.md).
const (
	chanInteractive = 0
	chanBulk        = 1
)

// startLink keeps a link process alive: when it dies, a new one follows.
func (s *Station) startLink(ctx context.Context) {
	s.link.ration = intake.NewRation(helloBurst, helloEvery, time.Now())
	s.rounds.ration, s.rounds.newest = intake.NewRation(roundsBurst, roundsEvery, time.Now()), map[string]time.Time{}
	s.challenges.ration = intake.NewRation(challengeBurst, challengeEvery, time.Now())
	s.link.wg.Go(func() {
		for ctx.Err() == nil {
			err := s.oneLink(ctx)
			s.loop.PostHost(s.linkDown)
			if ctx.Err() == nil {
				s.log.Warn().Err(err).Msg("link process ended; starting another")
			}
			select {
			case <-ctx.Done():
			case <-time.After(linkRestart):
			}
		}
	})
}

// linkRestart keeps a link process that cannot start from spinning.
const linkRestart = time.Second

// oneLink runs one link process to its end.
func (s *Station) oneLink(ctx context.Context) error {
	l, err := s.cfg.Link(ctx)
	if err != nil {
		return err
	}
	return linkproc.Run(ctx, l,
		func(out, bulk chan linkpipe.Msg, cut func()) {
			s.loop.PostHost(func() { s.link.out, s.link.bulk, s.link.cut = out, bulk, cut })
		},
		func(m linkpipe.Msg) { s.loop.PostHost(func() { s.fromLink(m) }) })
}

func (s *Station) linkDown() {
	s.link.out, s.link.bulk, s.link.up, s.link.host, s.link.waiting = nil, nil, false, "", nil
	s.forgetRounds()
	s.update()
}

// fromLink takes one message of the link process.
func (s *Station) fromLink(m linkpipe.Msg) {
	switch m.Kind {
	case linkpipe.Up:
		s.link.up, s.link.host, s.link.sent, s.link.waiting = true, "", 0, nil
		s.link.session++
		s.link.sid = m.SID
		s.dropQueued()
		s.forgetRounds()
		s.update()
	case linkpipe.Down:
		if !s.link.up { // none could be made: the host speaks another version
			s.hostLog.Warn().Str("link", m.Text).Send()
		}
		s.link.up, s.link.host, s.link.waiting = false, "", nil
		s.forgetRounds()
		s.update()
	case linkpipe.Message:
		s.fromHost(m.Body)
	case linkpipe.Device, linkpipe.Log:
		s.hostLog.Info().Str("link", m.Text).Send()
	}
}

// dropQueued forgets what waits to be written: it was for the session before.
func (s *Station) dropQueued() {
	for {
		select {
		case <-s.link.out:
		case <-s.link.bulk:
		default:
			return
		}
	}
}

// send queues a message for the host that said hello; without one it is
// dropped, because whoever comes next asks for what it lacks.
func (s *Station) send(channel int, body []byte) {
	if s.link.host != "" {
		s.transmit(channel, body)
	}
}

func (s *Station) transmit(channel int, body []byte) {
	if s.link.out == nil || !s.link.up || body == nil {
		return
	}
	queue := s.link.out
	if channel == chanBulk {
		queue = s.link.bulk
	}
	select {
	case queue <- linkpipe.Msg{Kind: linkpipe.Message, SID: s.link.sid, Channel: channel, Body: body}:
	default:
		s.hostLog.Warn().Msg("the host does not read: its session ends")
		s.link.cut()
		s.linkDown()
	}
}

// fromHost sorts the host's messages. Before a signed hello only a hello is
// answered.
func (s *Station) fromHost(raw []byte) {
	m, err := message.Parse(raw)
	if err != nil {
		s.refuse(message.JobID{}, message.CodeOf(err), err.Error())
		return
	}
	if h, ok := m.(*message.HelloNote); ok {
		s.hello(h)
		return
	}
	if s.link.host == "" {
		if sub, ok := m.(*message.Submit); ok {
			s.refuse(submittedJob(sub), message.CodeNoHello, "say hello first")
		}
		return
	}
	switch m := m.(type) {
	case *message.Submit:
		s.submit(m)
	case *message.CancelNote:
		s.cancel(m)
	case *message.RoundsNote:
		s.announced(m)
	case *message.Mirrored:
		s.mirrored(m)
	case *message.Fetch:
		s.fetch(m)
	case *message.Entries:
		s.offered(m)
	case *message.Order:
		if err := s.orderFromHost(m.Note); err != nil {
			s.refuseFor(orderID(m.Note), err)
		}
	case *message.Challenge:
		s.challenged(m.Text)
	default:
		s.refuse(message.JobID{}, message.CodeBadMessage, "this message goes from board to host only")
	}
}

// fetch answers with the entries from an index on, as many as one message
// holds.
func (s *Station) fetch(f *message.Fetch) {
	if f.From > s.cfg.Store.Size() {
		s.refuse(message.JobID{}, message.CodeUnknownHead, "this log is not that long")
		return
	}
	s.sendEntries(f.From, chanBulk)
}

// sendEntries sends entries from an index on and answers the index after the
// last one sent.
func (s *Station) sendEntries(from uint64, channel int) {
	total := s.cfg.Store.Size()
	m := message.Entries{Start: from, Total: total}
	room := message.MaxMessage - message.EntriesOverhead
	for i := from; i < total && len(m.Entries) < message.MaxEntries; i++ {
		e, err := s.cfg.Store.Entry(i)
		if err != nil {
			s.halt(chain.Unreadable(fmt.Errorf("entry %d: %w", i, err)))
			return
		}
		if room -= len(e) + 12; room < 0 {
			break
		}
		m.Entries = append(m.Entries, e)
	}
	if len(m.Entries) == 0 {
		return
	}
	s.link.sent = max(s.link.sent, from+uint64(len(m.Entries)))
	s.send(channel, m.Marshal())
}

// push sends the host the leaves it lacks, once it has said what it has.
func (s *Station) push() {
	if s.link.host != "" && s.link.sent < s.cfg.Store.Size() {
		s.sendEntries(s.link.sent, chanInteractive)
	}
}

// hostEvent tells the host how the job on display goes: a hint.
func (s *Station) hostEvent(state string, item, seconds int) {
	if s.job == nil {
		return
	}
	m := message.Event{Job: s.job.id, State: state, Item: item, Seconds: seconds}
	s.send(chanInteractive, m.Marshal())
}
