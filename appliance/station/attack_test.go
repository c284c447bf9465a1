package station

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/linkproc"
	"touchmark/appliance/station/loop"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// hostileLink is a link process that floods the board or never reads.
type hostileLink struct {
	flood  bool
	wrote  chan struct{} // a write has begun; it ends with the link
	in     chan linkpipe.Msg
	closed chan struct{}
	once   sync.Once
}

func newHostileLink() *hostileLink {
	return &hostileLink{wrote: make(chan struct{}, 1), in: make(chan linkpipe.Msg, 1024), closed: make(chan struct{})}
}

func (l *hostileLink) Read() (linkpipe.Msg, error) {
	if l.flood {
		select {
		case <-l.closed:
			return linkpipe.Msg{}, io.EOF
		default:
			return linkpipe.Msg{Kind: linkpipe.Log, Text: "flood"}, nil
		}
	}
	select {
	case m, ok := <-l.in:
		if !ok {
			return linkpipe.Msg{}, io.EOF
		}
		return m, nil
	case <-l.closed:
		return linkpipe.Msg{}, io.EOF
	}
}

func (l *hostileLink) Write(linkpipe.Msg) error {
	select {
	case l.wrote <- struct{}{}:
	default:
	}
	<-l.closed
	return io.ErrClosedPipe
}

func (l *hostileLink) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

// startWith starts the board with these link processes, one after another;
// started is told of each.
func (b *board) startWith(links ...*hostileLink) (started <-chan int) {
	n, told := 0, make(chan int, len(links))
	b.links = func(ctx context.Context) (Link, error) {
		if n == len(links) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		n++
		told <- n
		return links[n-1], nil
	}
	b.start()
	return told
}

func TestStopsUnderAFlood(t *testing.T) {
	b := newBoard(t)
	l := newHostileLink()
	l.flood = true
	b.startWith(l)
	b.event("token-ready")
	b.kill()
}

// blocked gets the board to write to a link process that does not read.
func (b *board) blocked(l *hostileLink) {
	l.in <- linkpipe.Msg{Kind: linkpipe.Up, SID: 1}
	l.in <- linkpipe.Msg{Kind: linkpipe.Message, Body: b.hello()}
	<-l.wrote
}

func TestStopsThoughTheLinkProcessDoesNotRead(t *testing.T) {
	b := newBoard(t)
	l := newHostileLink()
	b.startWith(l)
	b.blocked(l)
	b.kill()
}

func TestALinkProcessThatStopsReadingAndDiesIsReplaced(t *testing.T) {
	b := newBoard(t)
	l := newHostileLink()
	started := b.startWith(l, newHostileLink())
	<-started
	b.blocked(l)
	close(l.in) // its output ends, its input stays open
	select {
	case <-started:
	case <-time.After(patience):
		t.Fatal("the board waits for a link process that is gone")
	}
}

func TestAHostThatDoesNotReadLosesItsSession(t *testing.T) {
	b := newBoard(t)
	l := newHostileLink()
	b.startWith(l)
	b.blocked(l)
	fetch := (&message.Fetch{}).Marshal()
	for range linkproc.Queue + 2 {
		l.in <- linkpipe.Msg{Kind: linkpipe.Message, Body: fetch}
	}
	b.view("the link down", func(v operator.View) bool { return v.Host == "down" })
	<-l.closed
}

func TestHelloStormCostsTheTPMLittle(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.event("token-ready")
	b.tpm.counts()
	begun, finish := b.tpm.slowDown("NV_Certify")
	b.up()
	for i := range helloBurst {
		b.send(b.hello())
		if i == 0 {
			begun()
		}
	}
	b.send((&message.Fetch{}).Marshal()) // answered behind all hellos
	b.receive()
	finish()
	for {
		w, ok := b.receive().(*message.Welcome)
		if ok && w.Nonce == [16]byte{b.nonce} {
			break
		}
	}
	if n := b.tpm.counts()["NV_Certify"]; n > 2 {
		t.Errorf("%d attestations for hellos that came while the first was made, want one for the newest", n)
	}
}

func TestTPMFaultAfterAPowerCycle(t *testing.T) {
	b := newBoard(t)
	b.tpm.tpm.PowerCycle()
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.tpm.fail("NV_Certify", "before")
	id, m := b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	v := b.event("done")
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		t.Fatalf("%+v", o.Items[0])
	}
	if strings.Contains(v.Message, "enied") || !strings.Contains(v.Message, "TPM") {
		t.Errorf("the operator, who denied nothing, is told %q", v.Message)
	}
	b.signs("c.db", "content")
	b.replays()
}

// A TPM that fails on, while the fault is being mended, leaves the boot entry
// owing: the next job brings it, before its own intent.
func TestTPMFaultWhileMending(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.tpm.fail("Quote", "always")
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		t.Fatalf("%+v", o.Items[0])
	}
	id, m = b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.until(func() bool { return b.refused[id] != nil })
	if r := b.refused[id]; r.Code != message.CodeBusy {
		t.Fatalf("%+v", r)
	}
	b.tpm.fail("Quote", "")
	b.signs("c.db", "content")
	b.replays()
}

// spoil damages the oldest entry on disk, so that reading it halts the board.
func (b *board) spoil() {
	b.t.Helper()
	names, err := filepath.Glob(filepath.Join(b.dir, "log-*"))
	must(b.t, err)
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	must(b.t, err)
	_, err = f.WriteAt([]byte("damage"), 40)
	must(b.t, err)
	must(b.t, f.Close())
	b.send((&message.Fetch{}).Marshal())
}

func TestAHaltedBoardArmsNothing(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(id)
	b.spoil()
	b.view("halted", func(v operator.View) bool { return v.Halted != "" })
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	v := b.view("an answer", func(v operator.View) bool {
		return v.Event == "armed" || strings.Contains(v.Message, "not the job on display")
	})
	if v.Event == "armed" {
		t.Fatal("a halted board armed a job")
	}
	b.until(func() bool { return b.refused[id] != nil })
	if b.refused[id].Code != message.CodeHalted {
		t.Fatalf("%+v", b.refused[id])
	}
}

func TestAHaltDeniesWhatIsArmed(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.spoil()
	if v := b.event("do-not-touch"); v.Ask != operator.AskNoTouch {
		t.Fatalf("the token blinks and the display asks %q", v.Ask)
	}
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		t.Fatalf("%+v", o.Items[0])
	}
	if v := b.event("halted"); v.Halted == "" || v.Ask != operator.AskNothing {
		t.Fatalf("%+v", v)
	}
}

func TestStopsThoughTheLastCeremonyHalts(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.acks = false
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	n := len(b.entries)
	b.arm(id)
	b.until(func() bool { return len(b.entries) > n })
	must(t, b.store.Close())
	b.kill()
}

func TestTheAlarmStaysUntilTheOperatorActs(t *testing.T) {
	alarm := func(v operator.View) bool { return strings.Contains(v.Message, "raise the alarm") }
	b := newBoard(t)
	b.start()
	b.connect()
	first, m1 := b.job([]string{"a.db"}, "one")
	second, m2 := b.job([]string{"b.db"}, "two")
	b.submit(m1)
	b.submit(m2)
	b.arm(first)
	b.awaitTouch()
	b.token.touch <- ceremony.ErrTouchTimeout
	b.end(first)
	v := b.view("the second job", func(v operator.View) bool { return v.Job != nil && v.Job.ID == second.String() })
	if !alarm(v) {
		t.Fatalf("the next request wiped the alarm: %q", v.Message)
	}
	third, m3 := b.job([]string{"c.db"}, "three")
	b.submit(m3)
	if v := b.event("queued"); !alarm(v) {
		t.Fatalf("another request wiped the alarm: %q", v.Message)
	}
	b.send(b.cancels(second))
	v = b.view("the third job", func(v operator.View) bool { return v.Job != nil && v.Job.ID == third.String() })
	if !alarm(v) {
		t.Fatalf("a cancellation wiped the alarm: %q", v.Message)
	}
	b.command(operator.Command{Verb: operator.Arm, Job: third.String()})
	b.awaitTouch()
	if v := b.event("touch"); alarm(v) {
		t.Fatalf("still there after the operator armed another: %q", v.Message)
	}
	b.token.touch <- nil
	b.end(third)
}

func TestTheRateShownIsTheRateNow(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	first, m1 := b.job([]string{"a.db"}, "one")
	second, m2 := b.job([]string{"b.db"}, "two")
	b.submit(m1)
	b.submit(m2)
	b.arm(first)
	b.awaitTouch()
	b.token.touch <- nil
	b.end(first)
	v := b.view("the second job", func(v operator.View) bool { return v.Job != nil && v.Job.ID == second.String() })
	if v.Job.Rate != "18 of 20/1h left" {
		t.Errorf("one of 20 is used and one asked for; the display says %q", v.Job.Rate)
	}
}

// An outcome that was sent while the welcome's attestation was being made must
// not make the welcome look like one of a log that was rolled back.
func TestAWelcomeIsNotOlderThanWhatWasSentBeforeIt(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.tpm.counts()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	begun, finish := b.tpm.slowDown("Quote")
	b.arm(id)
	b.awaitTouch()
	begun() // the attestation of the commit has NV_Certify behind it
	slow, release := b.tpm.slowDown("NV_Certify")
	b.send(b.hello())
	finish()
	slow()
	b.token.touch <- nil
	b.end(id)
	size := uint64(len(b.entries))
	release()
	for {
		w, ok := b.receive().(*message.Welcome)
		if !ok {
			continue
		}
		if w.Total < size {
			t.Fatalf("the welcome speaks of %d entries after %d were sent", w.Total, size)
		}
		return
	}
}

func TestANewSessionHearsNothingBeforeItsHello(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	for {
		if e, ok := b.receive().(*message.Event); ok && e.State == "touch" {
			break
		}
	}
	b.up()
	b.view("the new session", func(v operator.View) bool { return v.Host == "up" })
	b.token.touch <- nil
	b.event("done")
	b.connect() // whose first answer is the welcome
	b.submit(m)
	if o := b.end(id); o.Items[0].State != ledger.Signed {
		t.Fatalf("%+v", o.Items[0])
	}
}

func TestAHelloThatWaitsDiesWithItsSession(t *testing.T) {
	b := newBoard(t)
	b.cfg.Confirm = true
	b.start()
	b.up()
	b.send(b.hello())
	b.up()
	b.send((&message.Fetch{}).Marshal())
	b.view("the second session", func(v operator.View) bool { return v.Event == "update" && v.Host == "up" })
	b.view("the second session", func(v operator.View) bool { return v.Event == "update" && v.Host == "up" })
	b.command(operator.Command{Verb: operator.Time})
	b.event("ready")
	if w := b.connect(); w.Nonce != [16]byte{b.nonce} {
		t.Fatalf("the second session was told nonce %x", w.Nonce)
	}
}

func TestAnImpatientOperatorSpendsOneTry(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.event("token-ready")
	tries, more := make(chan struct{}, 64), make(chan struct{})
	b.token.set(false, true) // out and in again
	b.event("token-missing")
	b.token.typed = func() { tries <- struct{}{}; <-more }
	b.token.set(false, false)
	b.event("pin-needed")
	for range 2 * loop.WorkQueue {
		b.command(operator.Command{Verb: operator.PIN, PIN: []byte("000000")})
	}
	b.view("a complaint", func(v operator.View) bool { return strings.Contains(v.Message, "being checked") })
	b.command(operator.Command{Verb: operator.Arm, Job: strings.Repeat("0", 64)})
	b.view("that the board still listens", func(v operator.View) bool { return strings.Contains(v.Message, "not the job on display") })
	close(more)
	b.event("pin-wrong")
	if n := len(tries); n != 1 {
		t.Errorf("%d tries of the PIN were used", n)
	}
}

func (b *board) cancels(id message.JobID) []byte {
	b.t.Helper()
	c := message.Cancel{Origin: origin, Job: id, HostTime: b.now()}
	n, err := message.SignNote(c.Marshal(), b.host)
	must(b.t, err)
	return n
}

// What was meant for the session before must not be said in the new one: all
// but the message that is being written already is dropped.
func TestWhatWaitedForTheOldSessionIsDropped(t *testing.T) {
	b := newBoard(t)
	l := &fakeLink{in: make(chan linkpipe.Msg, 64), out: make(chan linkpipe.Msg), closed: make(chan struct{})}
	first := make(chan *fakeLink, 1)
	first <- l
	b.links = func(ctx context.Context) (Link, error) {
		select {
		case l := <-first:
			return l, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.start()
	b.link, b.acks = l, false
	b.up()
	b.send(b.hello())
	b.receive()
	for range 4 {
		b.send((&message.Fetch{}).Marshal())
	}
	b.view("the host", func(v operator.View) bool { return v.Host == "repo1" })
	b.up()
	b.view("the new session", func(v operator.View) bool { return v.Host == "up" })
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	stale := 0
	for {
		msg, err := fromBoard(<-l.out)
		must(t, err)
		if r, ok := msg.(*message.Refused); ok && r.Job == id {
			break
		}
		stale++
	}
	if stale > 1 {
		t.Errorf("%d messages of the old session were sent in the new one", stale)
	}
}
