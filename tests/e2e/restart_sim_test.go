package e2e

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/station"
	"touchmark/hostlink/hostd"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable/disktest"
	"touchmark/tpm/quote"
)

// sim is board and host in one process: the real station and the real daemon, each with its own files, a TPM and a token
// of software, and between them a line that knows every message. Either side can be killed at any message and started
// again: what it did until then stays, what it does afterwards has no effect.
type sim struct {
	t     *testing.T
	log   *logtest.Log // keys, genesis
	key   string       // the host's private note key
	trust *verify.Trust
	tpm   *simTPM
	line  *line
	board *simBoard
	host  *simHost

	free chan struct{} // closed when the operator need not wait for the host any longer
	mu   sync.Mutex    // guards what follows
	made []signature
}

// signature is one that the token made.
type signature struct{ digest string }

const simPatience = 2 * time.Minute // bound of every wait; never waited for when all is well

func newSim(t *testing.T) *sim {
	t.Helper()
	parties := logtest.NewParties()
	hostKey, l := parties.HostKey, logtest.New(parties.Policy)
	s := &sim{t: t, log: l, key: hostKey, tpm: &simTPM{tpm: l.TPM}, line: newLine(), free: make(chan struct{})}
	s.trust = logtest.Must(verify.ParseTrust(l.TrustText()))
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	s.ok(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.host = &simHost{dir: filepath.Join(dir, "state"), socket: filepath.Join(dir, "s")}
	s.enrol()
	t.Cleanup(func() {
		s.line.cut()
		s.killHost()
		s.killBoard()
	})
	return s
}

// enrol writes the genesis entry and its attestation into a store, as the key ceremony does.
func (s *sim) enrol() {
	s.t.Helper()
	tpm := s.log.TPM
	store := logtest.Must(ledgerstore.Create(s.boardDir()))
	x := ledger.X(ledger.CheckpointBody(logtest.Origin, 1, s.log.Root(1)))
	s.ok(store.Append(s.log.Entries[:1], &anchor.Plan{Size: 1, X: x}))
	tpm.ExtendPCR(x) // HEAD has it from logtest
	s.log.Append(&ledger.Attest{Size: 1, Certify: tpm.CertifyHead(quote.CertifyTag(x)), Quote: tpm.QuotePCR(quote.QuoteTag(x))})
	s.ok(store.Append(s.log.Entries[1:2], nil))
	s.ok(store.Close())
}

func (s *sim) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) boardDir() string {
	if s.board == nil {
		s.board = &simBoard{dir: filepath.Join(s.t.TempDir(), "log")}
	}
	return s.board.dir
}

// simTPM counts as hardware: it outlives the board's processes.
type simTPM struct {
	mu  sync.Mutex
	tpm interface {
		CertifyHead([32]byte) quote.Attestation
		QuotePCR([32]byte) quote.Attestation
		ExtendHead([32]byte)
		ExtendPCR([32]byte)
		PowerCycle()
	}
}

// errDead is what a process that was killed gets from its devices.
var errDead = errors.New("this process was killed")

// life is one life of the board's core: its devices do nothing for it once it is over.
type life struct {
	s    *sim
	over chan struct{}
}

func (l *life) do(f func()) error {
	l.s.tpm.mu.Lock()
	defer l.s.tpm.mu.Unlock()
	if l.dead() {
		return errDead
	}
	f()
	return nil
}

func (l *life) dead() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func (l *life) Head() (h [32]byte, err error) {
	err = l.do(func() { h = l.s.log.TPM.Head })
	return h, err
}
func (l *life) PCR() (h [32]byte, err error) {
	err = l.do(func() { h = l.s.log.TPM.PCR })
	return h, err
}
func (l *life) ExtendHead(x [32]byte) error { return l.do(func() { l.s.tpm.tpm.ExtendHead(x) }) }
func (l *life) ExtendPCR(x [32]byte) error  { return l.do(func() { l.s.tpm.tpm.ExtendPCR(x) }) }
func (l *life) CertifyHead(extra [32]byte) (a quote.Attestation, err error) {
	err = l.do(func() { a = l.s.tpm.tpm.CertifyHead(extra) })
	return a, err
}
func (l *life) QuotePCR(extra [32]byte) (a quote.Attestation, err error) {
	err = l.do(func() { a = l.s.tpm.tpm.QuotePCR(extra) })
	return a, err
}

// The token. It is touched when the host has been told that it waits, or at once when something has happened to the line.

func (l *life) Public(string) (crypto.PublicKey, error) { return l.s.log.Priv.Public(), nil }
func (l *life) VerifyPIN([]byte) error                  { return nil }
func (l *life) PINVerified() bool                       { return true }
func (l *life) Present() bool                           { return !l.dead() }
func (l *life) Close() error                            { return nil }

func (l *life) Sign(_ string, _ crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error) {
	select {
	case <-l.over:
		return nil, errDead
	case <-l.s.free:
	case <-l.s.line.passed(message.EventTouch):
	}
	var sig []byte
	err := l.do(func() {
		sig = logtest.Must(l.s.log.Token(digest, h))
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.s.made = append(l.s.made, signature{string(digest)})
	})
	return sig, err
}

// The operator arms whatever is on display, under the same condition.

type desk struct {
	life     *life
	commands chan operator.Command
}

func (d *desk) Commands() <-chan operator.Command { return d.commands }

func (d *desk) Show(v operator.View) {
	if v.Ask != operator.AskArm || v.Job == nil {
		return
	}
	go func() {
		select {
		case <-d.life.over:
			return
		case <-d.life.s.free:
		case <-d.life.s.line.passed(message.EventShown):
		}
		select {
		case d.commands <- operator.Command{Verb: operator.Arm, Job: v.Job.ID}:
		case <-d.life.over:
		}
	}()
}

// simBoard is a running board.
type simBoard struct {
	dir   string
	life  *life
	store *ledgerstore.Store
	stop  func()
}

func (s *sim) startBoard() {
	s.t.Helper()
	l := &life{s: s, over: make(chan struct{})}
	store, err := ledgerstore.Open(s.board.dir)
	s.ok(err)
	st := station.New(station.Config{
		Store: store, TPM: l, Token: func() (station.Token, error) {
			if l.dead() {
				return nil, errDead
			}
			return l, nil
		},
		Link: s.line.boardEnd, Panel: &desk{l, make(chan operator.Command)}, LogKeys: station.FixedLogKey(s.log.Signer), Log: zerolog.Nop(), Clock: time.Now,
		TokenPoll: time.Hour,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); st.Run(ctx) }()
	s.board.life, s.board.store = l, store
	s.board.stop = func() { cancel(); <-ended }
}

// killBoard ends core and link process as SIGKILL does: what reached disk, TPM and token stays.
func (s *sim) killBoard() {
	b := s.board
	if b == nil || b.life == nil {
		return
	}
	s.tpm.mu.Lock()
	close(b.life.over)
	s.tpm.mu.Unlock()
	_ = b.store.Close() // from here on its log takes nothing
	s.line.dropBoard()
	b.stop()
	b.life = nil
}

// simHost is a running daemon.
type simHost struct {
	dir    string
	socket string
	stop   func()
}

// startHost runs a daemon on a copy of what the one before it left at the moment it was killed.
func (s *sim) startHost() {
	s.t.Helper()
	h := s.host
	d, err := hostd.New(hostd.Options{
		State: h.dir, Trust: s.trust, Key: logtest.Must(note.NewSigner(s.key)), Device: "memory", Grace: simPatience, Log: zerolog.Nop(),
		Timing: loop.Timing{HelloRetry: 5 * time.Second, BusyRetry: 10 * time.Millisecond, Rejoin: 200 * time.Millisecond},
	})
	s.ok(err)
	l, err := socket.Listen(h.socket, 0o600)
	s.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	end := s.line.hostEnd()
	go func() { ended <- d.Run(ctx, end, l) }()
	h.stop = func() {
		cancel()
		s.ok(<-ended)
	}
}

// killHost ends the daemon as SIGKILL does: its files are those of this moment, whatever it does while it goes down.
func (s *sim) killHost() {
	h := s.host
	if h == nil || h.stop == nil {
		return
	}
	s.line.dropHost()
	left := h.dir + "x"
	s.ok(disktest.Snapshot(left, h.dir))
	h.stop()
	h.stop, h.dir = nil, left
}

// request asks for a file to be signed, as touchmark sign does.
type request struct {
	s    *sim
	req  *api.Request
	sess *client.Session
	done chan struct{}
	resp *api.Response
	err  error
}

const artifact = "core.db"

func (s *sim) newRequest() *api.Request {
	h := hashstate.New(message.SHA256)
	_, _ = io.WriteString(h, "the same bytes every time")
	st := h.State()
	r := &api.Request{Op: api.OpSign, Timeout: time.Hour.Milliseconds(), Key: make([]byte, api.KeySize)}
	_, _ = rand.Read(r.Key) // never fails
	r.Items = []api.Item{{Name: artifact, Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()}.String(),
		Size: st.Count(), State: st.Bytes()}}
	return r
}

// ask starts a client.
func (s *sim) ask() *request {
	s.t.Helper()
	sess, err := client.Daemon{Socket: s.host.socket}.Open()
	s.ok(err)
	r := &request{s: s, req: s.newRequest(), sess: sess, done: make(chan struct{})}
	sess.Return = simPatience
	go func() {
		defer close(r.done)
		r.resp, r.err = sess.Wait(r.req)
		if r.err == nil && r.resp.OK {
			sess.Taken()
		}
		sess.Close()
	}()
	return r
}

// end waits for the client's answer and checks a signature that it got.
func (r *request) end() *api.Response {
	r.s.t.Helper()
	select {
	case <-r.done:
	case <-time.After(simPatience):
		r.s.t.Fatalf("a client waits for ever; on the line passed %v", r.s.line.story())
	}
	r.s.ok(r.err)
	if r.resp.OK {
		in, err := r.s.trust.OpenProof(r.resp.Proofs[0])
		r.s.ok(err)
		st, err := hashstate.Parse(message.SHA256, r.req.Items[0].State)
		r.s.ok(err)
		_, err = in.Check(artifact, sigformat.OpenPGPBinary, st, r.resp.Signatures[0])
		r.s.ok(err)
	}
	return r.resp
}

// kill ends the client as SIGKILL does.
func (r *request) kill() {
	r.sess.Leave()
	<-r.done
}

// line is the serial line with the sessions on it: it delivers whole messages, in order, while both ends are there, and
// tells both ends when a session begins and ends. At one message it can stop: then nothing passes until it is mended.
type line struct {
	mu     sync.Mutex // guards all below
	sid    uint32
	up     bool
	broken bool
	host   *hostPort
	board  *boardPort
	told   []said
	stopAt said
	drop   bool // the message at which it stops does not arrive
	stop   chan struct{}
	seen   map[string]chan struct{} // closed when an event of this state has passed
}

// said is one message on the line: the n-th of its kind in its direction.
type said struct {
	kind string
	n    int
}

func newLine() *line {
	return &line{seen: map[string]chan struct{}{}, stop: make(chan struct{})}
}

type hostPort struct {
	l      *line
	events chan serialport.Event
	gone   bool
}

type boardPort struct {
	l      *line
	in     chan linkpipe.Msg
	closed chan struct{}
}

// portRoom is more than one test ever sends.
const portRoom = 1 << 12

func (l *line) hostEnd() *hostPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.host = &hostPort{l: l, events: make(chan serialport.Event, portRoom)}
	l.connect()
	return l.host
}

func (l *line) boardEnd(context.Context) (station.Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.board = &boardPort{l: l, in: make(chan linkpipe.Msg, portRoom), closed: make(chan struct{})}
	l.connect()
	return l.board, nil
}

// connect begins a session if it can. The caller holds mu.
func (l *line) connect() {
	if l.up || l.broken || l.host == nil || l.board == nil {
		return
	}
	l.sid++
	l.up = true
	l.host.events <- serialport.Event{Kind: serialport.Up, SID: l.sid}
	l.board.in <- linkpipe.Msg{Kind: linkpipe.Up, SID: l.sid}
}

// disconnect ends it; both ends that are left notice. The caller holds mu.
func (l *line) disconnect() {
	if !l.up {
		return
	}
	l.up = false
	if l.host != nil {
		l.host.events <- serialport.Event{Kind: serialport.Down, SID: l.sid, Err: errors.New("no sign of life from the other side")}
	}
	if l.board != nil {
		l.board.in <- linkpipe.Msg{Kind: linkpipe.Down, Text: "no sign of life from the other side"}
	}
}

func (l *line) dropHost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.host != nil {
		l.host.gone, l.host = true, nil
		l.disconnect()
	}
}

// dropBoard is the end of the link process.
func (l *line) dropBoard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.board != nil {
		close(l.board.closed)
		l.board = nil
		l.disconnect()
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	l.disconnect()
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
	l.disconnect() // what was said into the broken line is lost, and that ends a session
	l.connect()
}

// pass takes a message and reports whether it arrives. The caller holds mu.
func (l *line) pass(direction string, body []byte) bool {
	if l.broken {
		return false
	}
	text, err := message.NewUnpacker().Unpack(body)
	if err != nil {
		panic(err)
	}
	m, err := message.Parse(text)
	if err != nil {
		panic(err)
	}
	kind := direction + " " + kindOf(m)
	st := said{kind, 1}
	for _, t := range l.told {
		if t.kind == kind {
			st.n++
		}
	}
	l.told = append(l.told, st)
	if st == l.stopAt {
		l.broken = true
		close(l.stop)
		if l.drop {
			return false
		}
	}
	if e, ok := m.(*message.Event); ok && !l.broken {
		l.mark(e.State)
	}
	return true
}

func (l *line) mark(state string) {
	if c := l.channel(state); !closed(c) {
		close(c)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (l *line) channel(state string) chan struct{} {
	if l.seen[state] == nil {
		l.seen[state] = make(chan struct{})
	}
	return l.seen[state]
}

// passed is closed when an event of this state has passed.
func (l *line) passed(state string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channel(state)
}

// story is every message that passed, in order.
func (l *line) story() []said {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

// forget begins a new story, which stops at a step.
func (l *line) forget(at said, drop bool) (stopped <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told, l.stopAt, l.drop, l.stop, l.seen = nil, at, drop, make(chan struct{}), map[string]chan struct{}{}
	return l.stop
}

// kindOf names a message: its type, and the state that an event tells.
func kindOf(m any) string {
	switch m := m.(type) {
	case *message.HelloNote:
		return "hello"
	case *message.Submit:
		return "submit"
	case *message.CancelNote:
		return "cancel"
	case *message.Mirrored:
		return "mirrored"
	case *message.Fetch:
		return "fetch"
	case *message.Welcome:
		return "welcome"
	case *message.Entries:
		return "entries"
	case *message.Checkpoint:
		return "checkpoint"
	case *message.Event:
		return "event " + m.State
	case *message.Refused:
		return "refused " + m.Code
	case *message.Done:
		return "done"
	}
	return "unknown"
}

func (p *hostPort) Send(_ context.Context, sid uint32, channel int, body []byte) error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.gone || !p.l.up || sid != p.l.sid {
		return net.ErrClosed
	}
	if p.l.pass("up", body) {
		p.l.board.in <- linkpipe.Msg{Kind: linkpipe.Message, SID: sid, Channel: channel, Body: body}
	}
	return nil
}

func (p *hostPort) Events() <-chan serialport.Event { return p.events }
func (p *hostPort) Close() error                    { return nil }

func (p *boardPort) Write(m linkpipe.Msg) error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	switch {
	case p.l.board != p:
		return io.EOF
	case !p.l.up || m.SID != p.l.sid:
	case p.l.pass("down", m.Body):
		p.l.host.events <- serialport.Event{Kind: serialport.Message, SID: m.SID, Channel: m.Channel, Body: m.Body}
	}
	return nil
}

func (p *boardPort) Read() (linkpipe.Msg, error) {
	select {
	case <-p.closed:
		return linkpipe.Msg{}, io.EOF
	case m := <-p.in:
		return m, nil
	}
}

func (p *boardPort) Close() error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.l.board == p {
		close(p.closed)
		p.l.board = nil
		p.l.disconnect()
	}
	return nil
}

// checkpoint is the newest one that the host has verified.
func (s *sim) checkpoint() []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.host.dir, "checkpoint"))
	s.ok(err)
	return b
}
