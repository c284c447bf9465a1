package station

import (
	"context"
	"fmt"
	"sync"
	"time"

	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/quote"
)

// linkState is the conversation with the host. A new session begins unknown:
// nothing is sent back before a host known to the policy has signed a hello.
type linkState struct {
	out     chan linkpipe.Msg // to the writer of the present link process, nil when there is none
	up      bool              // a session exists
	cut     func()            // ends the present link process
	session uint64            // counts them
	host    string            // who said hello in it, "" before
	sent    uint64            // leaves that this session's host has or was sent

	bucket    bucket             // hellos
	waiting   *message.HelloNote // the newest that could not be answered yet
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

// linkQueue bounds what waits for the link process. A host that does not read
// loses its session, not the board its memory.
const linkQueue = 128

// startLink keeps a link process alive: when it dies, a new one follows.
func (s *Station) startLink(ctx context.Context) {
	s.link.bucket = newBucket(helloBurst, helloEvery, time.Now())
	s.link.wg.Go(func() {
		for ctx.Err() == nil {
			err := s.oneLink(ctx)
			s.loop.post(s.linkDown)
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

// linkFlush bounds how long a stopping board waits for its last words to
// leave.
const linkFlush = time.Second

// oneLink runs one link process to its end.
func (s *Station) oneLink(ctx context.Context) error {
	l, err := s.cfg.Link(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, flushed := make(chan linkpipe.Msg, linkQueue), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		defer close(flushed)
		defer stop()
		writeLink(ctx, l, out)
	})
	wg.Go(func() { // a process that neither reads nor dies must not hold the board up
		<-ctx.Done()
		select {
		case <-flushed:
		case <-time.After(linkFlush):
		}
		_ = l.Close()
	})
	s.loop.post(func() { s.link.out, s.link.cut = out, stop })
	for {
		m, err := l.Read()
		if err != nil {
			return err
		}
		s.loop.post(func() { s.fromLink(m) })
	}
}

// writeLink passes messages to the link process until either ends, and at the
// end what was still queued.
func writeLink(ctx context.Context, l Link, out <-chan linkpipe.Msg) {
	packer := message.NewPacker()
	write := func(m linkpipe.Msg) error {
		m.Body = packer.Pack(m.Body)
		return l.Write(m)
	}
	for {
		select {
		case m := <-out:
			if write(m) != nil {
				return
			}
		case <-ctx.Done():
			for len(out) > 0 {
				if write(<-out) != nil {
					return
				}
			}
			return
		}
	}
}

func (s *Station) linkDown() {
	s.link.out, s.link.up, s.link.host, s.link.waiting = nil, false, "", nil
	s.update()
}

// fromLink takes one message of the link process.
func (s *Station) fromLink(m linkpipe.Msg) {
	switch m.Kind {
	case linkpipe.Up:
		s.link.up, s.link.host, s.link.sent, s.link.waiting = true, "", 0, nil
		s.link.session++
		s.dropQueued()
		s.update()
	case linkpipe.Down:
		s.link.up, s.link.host, s.link.waiting = false, "", nil
		s.update()
	case linkpipe.Message:
		s.fromHost(m.Body)
	case linkpipe.Device, linkpipe.Log:
		s.log.Info().Str("link", m.Text).Send()
	}
}

// dropQueued forgets what waits to be written: it was for the session before.
func (s *Station) dropQueued() {
	for {
		select {
		case <-s.link.out:
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
	select {
	case s.link.out <- linkpipe.Msg{Kind: linkpipe.Message, Channel: channel, Body: body}:
	default:
		s.log.Warn().Msg("the host does not read: its session ends")
		s.link.cut()
		s.linkDown()
	}
}

// fromHost sorts the host's messages. Before a signed hello only a hello is
// answered.
func (s *Station) fromHost(raw []byte) {
	m, err := message.Parse(raw)
	if err != nil {
		s.log.Warn().Err(err).Msg("malformed message")
		s.refuse(message.JobID{}, message.CodeBadMessage, err.Error())
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
	case *message.Mirrored:
		s.mirrored(m)
	case *message.Fetch:
		s.fetch(m)
	default:
		s.refuse(message.JobID{}, message.CodeBadMessage, "this message goes from board to host only")
	}
}

// refuse answers that nothing is done about a job.
func (s *Station) refuse(id message.JobID, code, text string) {
	s.log.Warn().Str("job", id.String()).Str("code", code).Msg(text)
	m := message.Refused{Job: id, Code: code, Text: text}
	if code == message.CodeNoHello {
		s.transmit(chanInteractive, m.Marshal())
		return
	}
	s.send(chanInteractive, m.Marshal())
}

// hello checks who speaks and answers with a fresh attestation. Each costs the
// TPM a signature, so they are rationed and never queue up before it; a hello
// too many waits its turn, and only the newest waits.
func (s *Station) hello(h *message.HelloNote) {
	_, host, err := s.policy.AuthenticateHost(h.Note)
	if err == nil && h.Hello.Origin != s.trust.Origin {
		err = fmt.Errorf("it is meant for %q", h.Hello.Origin)
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("hello refused")
		return
	}
	if !s.confirmed || s.link.attesting {
		s.link.waiting = h // there is nothing to attest before the clock is right
		return
	}
	if wait := s.link.bucket.take(time.Now()); wait > 0 {
		s.link.waiting = h
		if !s.link.timed {
			s.link.timed = true
			s.after(wait, func() { s.link.timed = false; s.lateHello() })
		}
		return
	}
	s.link.host = host
	s.update()
	s.noteHead(h.Hello.HeadSize, h.Hello.HeadRoot)
	s.welcome(h.Hello.Nonce)
}

func (s *Station) lateHello() {
	if h := s.link.waiting; h != nil {
		s.link.waiting = nil
		s.hello(h)
	}
}

// noteHead remembers how far the host's mirror reaches, if it agrees with us.
func (s *Station) noteHead(size uint64, root [32]byte) {
	if size > s.cfg.Store.Size() {
		return
	}
	if r, err := s.cfg.Store.Root(size); err == nil && r == root {
		s.link.sent = max(s.link.sent, size)
	}
}

// welcome answers a hello. The attestation is made by the TPM's worker and says
// what HEAD holds, whether or not the log explains it.
func (s *Station) welcome(nonce [16]byte) {
	session := s.link.session
	s.link.attesting = true
	s.tpm.do(func() func() {
		a, err := s.cfg.TPM.CertifyHead(quote.HelloTag(nonce[:]))
		return func() {
			s.link.attesting = false
			if err != nil {
				s.log.Error().Err(err).Msg("attesting for a hello")
			}
			if s.link.session == session {
				s.sendWelcome(nonce, a)
			}
			s.lateHello()
		}
	})
}

// sendWelcome tells the state of the log as it is now, not as it was when the
// hello came: entries sent in between would make it look rolled back.
func (s *Station) sendWelcome(nonce [16]byte, a quote.Attestation) {
	w := message.Welcome{
		Nonce: nonce, Origin: s.trust.Origin, Firmware: Version, Policy: s.policy.Hash,
		Time: s.now(), State: s.state(), Total: s.cfg.Store.Size(), Checkpoint: s.checkpoint,
		Attest: a.Attest, Sig: a.Sig,
	}
	s.send(chanInteractive, w.Marshal())
}

// state is the board's state in one word.
func (s *Station) state() string {
	switch {
	case s.halted != nil:
		return message.StateHalted
	case !s.confirmed:
		return "time-unconfirmed"
	}
	return message.StateReady
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
			s.halt(fmt.Errorf("reading log entry %d: %w", i, err))
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

// The ration of hellos: one per ten seconds in the long run, a few at once for
// a daemon that is being restarted.
const (
	helloBurst = 8
	helloEvery = 10 * time.Second
)

// bucket is a token bucket.
type bucket struct {
	tokens, burst float64
	every         time.Duration
	at            time.Time
}

func newBucket(burst int, every time.Duration, now time.Time) bucket {
	return bucket{float64(burst), float64(burst), every, now}
}

// take spends one token and answers 0, or answers how long to wait for one.
func (b *bucket) take(now time.Time) time.Duration {
	b.tokens = min(b.burst, b.tokens+float64(now.Sub(b.at))/float64(b.every))
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Duration((1-b.tokens)*float64(b.every)) + time.Millisecond
}
