package hostd

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

const (
	testOrigin = logtest.Origin
	patience   = 2 * time.Minute // bound of every wait in these tests, on a machine with other things to do
	never      = 24 * time.Hour  // a wait of the daemon that does not come to pass
	grace      = never - time.Hour
	timeout    = time.Hour // of clients
)

var noon = logtest.Noon

// board is an appliance in memory, at the level of messages: its log, its TPM
// and its keys are real; what it says and when is up to the test.
type board struct {
	*logtest.Log
	t        *testing.T
	parties  *logtest.Parties
	hostKey  string // private note key of the host
	host     note.Verifier
	policy   *policy.Policy
	noAttest bool

	in     chan any // what the host sent
	events chan serialport.Event
	up     atomic.Bool
}

func newBoard(t *testing.T) *board {
	b := &board{t: t, in: make(chan any, 64), events: make(chan serialport.Event, 64)}
	b.parties = logtest.NewParties()
	b.Log, b.hostKey, b.policy = logtest.New(b.parties.Policy), b.parties.HostKey, must(policy.Open(b.parties.Policy))
	b.host = b.policy.Hosts[0].Key
	return b
}

func must[T any](v T, err error) T { return logtest.Must(v, err) }

// Link's methods.

func (b *board) Send(_ context.Context, _ uint32, _ int, msg []byte) error {
	m, err := message.Parse(msg)
	if err != nil {
		b.t.Errorf("the host sent a malformed message: %v\n%q", err, msg)
		return nil
	}
	if !b.up.Load() {
		return session.ErrDown
	}
	select {
	case b.in <- m:
		return nil
	default: // nobody reads on this side: what a Send that waited in vain gives
		return context.DeadlineExceeded
	}
}

func (b *board) Events() <-chan serialport.Event { return b.events }
func (b *board) Close() error                    { return nil }

// say sends a message to the host.
func (b *board) say(m interface{ Marshal() []byte }) {
	b.t.Helper()
	body := m.Marshal()
	if body == nil {
		b.t.Fatalf("%T does not marshal", m)
	}
	b.events <- serialport.Event{Kind: serialport.Message, Body: message.NewPacker().Pack(body)}
}

// hear waits for a message of type T; one of another type is a failure, but
// for acknowledgements, which are checked and skipped.
func hear[T any](b *board) T {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case m := <-b.in:
			if v, ok := m.(T); ok {
				return v
			}
			ack, ok := m.(*message.Mirrored)
			if !ok {
				b.t.Fatalf("heard %T, want %T", m, *new(T))
			}
			b.checkAck(ack)
		case <-deadline.C:
			b.t.Fatalf("heard nothing, want %T", *new(T))
		}
	}
}

func (b *board) checkAck(m *message.Mirrored) {
	b.t.Helper()
	if m.Size > b.Size() || b.Root(m.Size) != m.Root {
		b.t.Fatalf("the host acknowledges %d entries it cannot have", m.Size)
	}
}

// acked waits until the host says it holds everything.
func (b *board) acked() {
	b.t.Helper()
	for {
		m := hear[*message.Mirrored](b)
		b.checkAck(m)
		if m.Size == b.Size() {
			return
		}
	}
}

// connect brings a session up and greets, without serving entries.
func (b *board) connect() *message.HelloNote {
	b.t.Helper()
	b.up.Store(true)
	b.events <- serialport.Event{Kind: serialport.Up, SID: 1}
	return b.hello()
}

func (b *board) hello() *message.HelloNote {
	b.t.Helper()
	h := hear[*message.HelloNote](b)
	if _, by, err := message.OpenNote(h.Note, []note.Verifier{b.host}); err != nil || len(by) != 1 {
		b.t.Fatalf("hello is not signed by the host: %v", err)
	}
	return h
}

func (b *board) welcome(nonce [16]byte) *message.Welcome {
	w := &message.Welcome{
		Nonce: nonce, Origin: testOrigin, Firmware: "test", Policy: b.policy.Hash, Time: noon, State: message.StateReady,
		Total: b.Size(), Checkpoint: b.Note,
	}
	if !b.noAttest {
		a := b.TPM.CertifyHead(quote.HelloTag(nonce[:]))
		w.Attest, w.Sig = a.Attest, a.Sig
	}
	return w
}

// meet connects and lets the host fetch everything it lacks.
func (b *board) meet() {
	b.t.Helper()
	h := b.connect()
	b.say(b.welcome(h.Hello.Nonce))
	if h.Hello.HeadSize < b.Size() {
		b.serve()
	}
}

// serve answers fetches until the host has everything.
func (b *board) serve() {
	b.t.Helper()
	for {
		f := hear[*message.Fetch](b)
		to := min(f.From+3, b.Size()) // small answers, so that the host asks again
		b.say(&message.Entries{Start: f.From, Total: b.Size(), Entries: b.Entries[f.From:to]})
		if to == b.Size() {
			b.acked()
			return
		}
	}
}

// attend answers fetches and hellos until it is stopped.
func (b *board) attend() (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-quit:
				return
			case m := <-b.in:
				switch m := m.(type) {
				case *message.Fetch:
					if m.From < b.Size() {
						b.push(m.From)
					}
				case *message.HelloNote:
					b.say(b.welcome(m.Hello.Nonce))
				}
			}
		}
	}()
	return func() { close(quit); <-gone }
}

func (b *board) drop() {
	b.up.Store(false)
	b.events <- serialport.Event{Kind: serialport.Down, SID: 1, Err: session.ReasonSilent}
}

// push sends the entries from an index on.
func (b *board) push(from uint64) {
	b.t.Helper()
	b.say(&message.Entries{Start: from, Total: b.Size(), Entries: b.Entries[from:]})
}

// request is a submission that the policy admits, opened.
type request struct {
	*policy.Request
	submit *message.Submit
	states []hashstate.State
}

// submitted waits for a submission and checks it as a board does.
func (b *board) submitted() *request {
	b.t.Helper()
	m := hear[*message.Submit](b)
	r, err := b.policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.policy.Admit(r, policy.NewHistory(), noon); err != nil {
		b.t.Fatal(err)
	}
	if n := r.Submission.HeadSize; n == 0 || n > b.Size() || b.Root(n) != r.Submission.HeadRoot {
		b.t.Fatalf("the submission commits to a head of %d that is not ours", n)
	}
	req := &request{Request: r, submit: m}
	for i, c := range m.Contents {
		it := r.Approval.Items[i]
		state := hashstate.New(it.Digest.Alg)
		_, _ = state.Write(c.Document)
		if req.states = append(req.states, state.State()); c.Document == nil {
			req.states[i] = must(hashstate.Parse(it.Digest.Alg, c.State))
		}
		if !it.Digest.Equal(message.Digest{Alg: it.Digest.Alg, Sum: req.states[i].Digest()}) {
			b.t.Fatalf("item %d is another than the approved one", i)
		}
	}
	return req
}

// intent appends the intent of a request and makes its signatures.
func (b *board) intent(r *request) (uint64, []ledger.ItemResult) {
	return b.Intent(r.submit.Approval, r.submit.Submission, r.states)
}

// run carries a request through: intent, commit, outcome, checkpoint, done.
func (b *board) run(r *request, change func(items []ledger.ItemResult)) {
	b.t.Helper()
	from := b.Size()
	i, items := b.intent(r)
	b.push(from)
	b.acked()
	b.Commit()
	if change != nil {
		change(items)
	}
	out := b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	b.push(out)
	b.say(&message.Checkpoint{Note: b.Note})
	b.say(&message.Done{Job: r.Job, Intent: i, Outcome: out})
}

// look runs f in the daemon's loop and waits for it.
func (w *world) look(f func()) {
	w.t.Helper()
	w.d.loop.Do(f)
}

// TestFetchUnanswered: entries that somebody on the cable only spoke of are asked
// for, and then no more; later hints count again.
func TestFetchUnanswered(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	for range 2 {
		size := w.b.Size()
		w.b.say(&message.Done{Job: r.Job, Intent: size + 5, Outcome: size + 6})
		if f := hear[*message.Fetch](w.b); f.From != size {
			t.Fatalf("fetches from %d", f.From)
		}
		w.pass(w.timing.HelloRetry)
	}
	w.b.run(r, nil)
	c.expect(api.OK, "")
	w.quiet()
}

// quiet wants the host to have said nothing but what it keeps.
func (w *world) quiet() {
	w.t.Helper()
	w.settled()
	w.look(func() {})
	for len(w.b.in) > 0 {
		if m, ok := (<-w.b.in).(*message.Mirrored); !ok {
			w.t.Fatalf("the host says %T", m)
		}
	}
}

// TestDoneOfWhatIsHere: a hint about entries that this host has, or about a job
// that is none of its own, makes it ask for nothing.
func TestDoneOfWhatIsHere(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	i, items := w.b.intent(r)
	w.b.push(i)
	w.b.acked()
	w.b.say(&message.Done{Job: r.Job, Intent: i - 1, Outcome: i})
	w.b.say(&message.Done{Job: message.JobID{1}, Intent: i + 5, Outcome: i + 6})
	w.quiet()
	w.b.Commit()
	w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	c.expect(api.OK, "")
}

// TestStatusesShareAGreeting: however many ask at once, the board's TPM signs once,
// and all of them get its answer.
func TestStatusesShareAGreeting(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.back.Store(-60)
	told := make(chan bool, 3)
	w.look(func() {
		for range cap(told) {
			w.d.board.Fresh(false, func() { told <- true })
		}
	})
	h := w.b.hello()
	if len(w.b.in) > 0 {
		t.Fatalf("and then %T", <-w.b.in)
	}
	m := w.b.welcome(h.Hello.Nonce)
	m.Firmware = "newer"
	w.b.say(m)
	for range cap(told) {
		<-told
	}
	if s := w.status(); s.Firmware != "newer" || s.Age != 0 {
		t.Fatalf("status %+v", s)
	}
}
