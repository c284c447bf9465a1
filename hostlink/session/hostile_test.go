package session

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"touchmark/hostlink/frame"
)

// lone is one Conn and a peer played by the test, frame by frame.
type lone struct {
	*Conn
	t   testing.TB
	now time.Time
}

func newLone(t testing.TB, initiator bool) *lone {
	l := &lone{t: t, now: epoch}
	count := byte(0)
	l.Conn = New(Config{Initiator: initiator, Baud: 115200, Nonce: func() [8]byte {
		count++
		return [8]byte{0xa0, 7: count}
	}}, l.now)
	l.take()
	return l
}

// take returns the frames that are due.
func (l *lone) take() (out []frame.Frame) {
	for {
		p := l.Output(l.now, 1<<16)
		if len(p) == 0 {
			return out
		}
		out = append(out, decodeAll(p)...)
	}
}

func (l *lone) give(fs ...frame.Frame) {
	for i := range fs {
		l.Input(l.now, frame.Append([]byte{0}, &fs[i]))
	}
}

func (l *lone) pass(d time.Duration) { l.now = l.now.Add(d) }

// events empties the queue.
func (l *lone) events() (out []Event) {
	for {
		ev, ok := l.Next()
		if !ok {
			return out
		}
		out = append(out, ev)
	}
}

func syn(nonce byte) frame.Frame {
	return frame.Frame{Type: frame.TypeSyn, Payload: []byte{Version, nonce, 0, 0, 0, 0, 0, 0, 0}}
}

func reset(sid uint32, r Reason) frame.Frame {
	return frame.Frame{Type: frame.TypeReset, SID: sid, Payload: []byte{byte(r)}}
}

func ping(sid uint32) frame.Frame { return frame.Frame{Type: frame.TypePing, SID: sid} }

func data(sid uint32, seq uint16, flags frame.Type, body string) frame.Frame {
	return frame.Frame{Type: frame.TypeData | flags, SID: sid, Seq: seq, Payload: []byte(body)}
}

// accepted opens half a session at a responder and returns its id.
func (l *lone) accepted(nonce byte) uint32 {
	l.t.Helper()
	l.give(syn(nonce))
	for _, f := range l.take() {
		if f.Type == frame.TypeAccept {
			return f.SID
		}
	}
	l.t.Fatal("no ACCEPT")
	return 0
}

// stand opens a whole session.
func (l *lone) stand(nonce byte) uint32 {
	l.t.Helper()
	if l.cfg.Initiator {
		sid := sessionID(l.hs.nonce, [8]byte{nonce})
		l.give(frame.Frame{Type: frame.TypeAccept, SID: sid, Payload: []byte{Version, nonce, 0, 0, 0, 0, 0, 0, 0}}, ping(sid))
		l.take()
		l.events()
		return sid
	}
	sid := l.accepted(nonce)
	l.give(ping(sid))
	l.take()
	l.events()
	return sid
}

// only fails unless the frames are exactly of the given types.
func only(t testing.TB, got []frame.Frame, want ...frame.Type) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range got {
		ok = ok && got[i].Type == want[i]
	}
	if !ok {
		t.Fatalf("frames %v, want %v", got, want)
	}
}

func TestSynAloneChangesNothing(t *testing.T) {
	l := newLone(t, false)
	old := l.stand(1)
	l.give(data(old, 0, 0, "half a mess"))
	next := l.accepted(2)
	l.give(data(old, 1, frame.FlagLast, "age"))
	if evs := l.events(); len(evs) != 1 || string(evs[0].Body) != "half a message" {
		t.Fatalf("the old session is disturbed: %+v", evs)
	}
	l.pass(beginEvery)
	l.give(ping(next))
	evs := l.events()
	if len(evs) != 2 || evs[0].Kind != Down || evs[0].Reason != ReasonReplaced || evs[0].SID != old ||
		evs[1].Kind != Up || evs[1].SID != next {
		t.Fatalf("events %+v", evs)
	}
	l.pass(time.Second)
	l.take()
	l.give(data(old, 2, frame.FlagLast, "stale"))
	only(t, l.take(), frame.TypeReset)
	if evs := l.events(); len(evs) != 0 {
		t.Fatalf("a stale frame was believed: %+v", evs)
	}
}

func TestSameSynSameAccept(t *testing.T) {
	l := newLone(t, false)
	a, b := l.accepted(1), l.accepted(1)
	if a != b {
		t.Errorf("ids %08x and %08x for the same SYN", a, b)
	}
	if c := l.accepted(2); c == a {
		t.Error("same id for another SYN")
	}
	sid := l.stand(2)
	l.give(syn(2))
	if out := l.take(); len(out) != 0 || !l.Up() || l.sid != sid {
		t.Errorf("late copy of the SYN was answered: %v", out)
	}
}

func TestReplayedSessionIsNotAccepted(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	l = newLone(t, false) // restarted, other nonces
	l.cfg.Nonce = func() [8]byte { return [8]byte{0xb0} }
	l.give(syn(1))
	l.take()
	l.give(data(sid, 0, frame.FlagLast, "replayed"))
	if evs := l.events(); len(evs) != 0 {
		t.Fatalf("a recording was believed: %+v", evs)
	}
}

func TestResetsAreRationed(t *testing.T) {
	l := newLone(t, false)
	n := 0
	for range 1000 {
		l.give(ping(99))
		n += len(l.take())
		l.pass(time.Millisecond)
	}
	if n != 5 {
		t.Errorf("%d RESETs in a second, want 5", n)
	}
	l.give(reset(99, ReasonUnknown))
	l.pass(time.Second)
	if out := l.take(); len(out) != 0 {
		t.Errorf("a RESET was answered: %v", out)
	}
}

func TestInitiatorIgnoresWhatItDidNotAsk(t *testing.T) {
	l := newLone(t, true)
	nonce := l.hs.nonce
	right := sessionID(nonce, [8]byte{1})
	accept := func(sid uint32, version, n byte) frame.Frame {
		return frame.Frame{Type: frame.TypeAccept, SID: sid, Payload: []byte{version, n, 0, 0, 0, 0, 0, 0, 0}}
	}
	l.give(accept(right+1, Version, 1), accept(right, Version, 2), syn(1), ping(right), reset(right, ReasonClosed), data(7, 0, 0, "x"))
	if out := l.take(); len(out) != 0 || l.Up() {
		t.Fatalf("answered %v", out)
	}
	l.give(accept(right, Version, 1))
	only(t, l.take(), frame.TypePing)
	l.give(accept(right, Version, 1), accept(right+1, Version, 9), data(7, 0, frame.FlagLast, "x"))
	if out := l.take(); len(out) != 0 || !l.Up() {
		t.Fatalf("answered %v", out)
	}
	if evs := l.events(); len(evs) != 1 || evs[0].Kind != Up {
		t.Fatalf("events %+v", evs)
	}
}

func TestMessageTooLongEndsTheSession(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	chunk := string(bytes.Repeat([]byte{'x'}, frame.MaxPayload))
	for i := range uint16(MaxMessage / frame.MaxPayload) {
		l.give(data(sid, i, 0, chunk))
	}
	if !l.Up() {
		t.Fatal("down before the bound")
	}
	l.take()
	l.give(data(sid, MaxMessage/frame.MaxPayload, frame.FlagLast, "y"))
	if evs := l.events(); len(evs) != 1 || evs[0].Reason != ReasonProtocol {
		t.Fatalf("events %+v", evs)
	}
	out := l.take()
	only(t, out, frame.TypeReset)
	if out[0].SID != sid || Reason(out[0].Payload[0]) != ReasonProtocol {
		t.Errorf("answered %+v", out[0])
	}
}

// TestAcksOfWhatWasNotSentAreDropped, with the whole frame.
func TestAcksOfWhatWasNotSentAreDropped(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	if err := l.Send(l.sid, Interactive, []byte("one")); err != nil {
		t.Fatal(err)
	}
	l.take()
	for _, ack := range []uint16{2, 3, 33, 0x8000, 0xffdf} {
		l.give(frame.Frame{Type: frame.TypeAck, SID: sid, Ack: ack})
		l.give(frame.Frame{Type: frame.TypeData | frame.FlagLast, SID: sid, Ack: ack, Payload: []byte("x")})
		if len(l.tx.flights) != 1 || l.rx.nxt != 0 {
			t.Errorf("ack %d was believed", ack)
		}
	}
	l.give(frame.Frame{Type: frame.TypeAck, SID: sid, Ack: 1})
	if len(l.tx.flights) != 0 {
		t.Error("the right ack was not believed")
	}
}

func TestSequenceOutsideTheWindowIsDropped(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	for _, seq := range []uint16{Window, Window + 1, 0x7fff, 0x8000, 0xffdf} {
		l.give(data(sid, seq, frame.FlagLast, "x"))
	}
	if l.rx.have != 0 || len(l.take()) != 0 || len(l.events()) != 0 {
		t.Error("a frame outside the window left a trace")
	}
	l.give(data(sid, 0xffff, frame.FlagLast, "x")) // just before the window: a copy
	only(t, l.take(), frame.TypeAck)
}

func TestGapReport(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	for _, seq := range []uint16{2, 9, 31} {
		l.give(data(sid, seq, frame.FlagLast, "x"))
	}
	out := l.take()
	only(t, out, frame.TypeAck)
	if want := []byte{0, 0x02, 0x01, 0, 0x40}; !bytes.Equal(out[0].Payload, want) || out[0].Ack != 0 {
		t.Errorf("ACK %d %x, want 0 %x", out[0].Ack, out[0].Payload, want)
	}
}

// TestHold: a peer that asks to wait gets nothing new, and the fragment it had
// to drop again as soon as it asks on, without a timer.
func TestHold(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	ack := func(n uint16, payload ...byte) frame.Frame {
		return frame.Frame{Type: frame.TypeAck, SID: sid, Ack: n, Payload: payload}
	}
	for range 3 {
		l.Send(l.sid, Interactive, []byte("x"))
	}
	only(t, l.take(), frame.TypeData|1, frame.TypeData|1, frame.TypeData|1)
	l.give(ack(1, frame.AckHold, 0x01)) // fragment 1 dropped, 2 kept
	l.Send(l.sid, Interactive, []byte("y"))
	if out := l.take(); len(out) != 1 || out[0].Seq != 1 {
		t.Fatalf("sent %v while held: want only the lost fragment", out)
	}
	l.give(ack(1, frame.AckHold, 0x01)) // dropped again
	only(t, l.take())
	l.give(ack(1, 0, 0x01))
	out := l.take()
	only(t, out, frame.TypeData|1, frame.TypeData|1)
	if out[0].Seq != 1 || out[1].Seq != 3 {
		t.Errorf("sent %d and %d, want 1 and 3", out[0].Seq, out[1].Seq)
	}
}

// TestHoldEndsByProgress: the ACK that ends a hold may be lost; any frame that
// acknowledges more than the one that asked for it ends it too.
func TestHoldEndsByProgress(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	for range 3 {
		l.Send(sid, Interactive, []byte("x"))
	}
	l.take()
	l.give(frame.Frame{Type: frame.TypeAck, SID: sid, Ack: 1, Payload: []byte{frame.AckHold}})
	l.Send(sid, Interactive, []byte("y"))
	only(t, l.take())
	f := data(sid, 0, frame.FlagLast, "answer")
	f.Ack = 2
	l.give(f)
	out := l.take()
	only(t, out, frame.TypeData|1, frame.TypeData|1)
	if out[0].Seq != 2 || out[1].Seq != 3 {
		t.Errorf("sent %d and %d, want 2 again and 3", out[0].Seq, out[1].Seq)
	}
}

// TestHoldEndsAtOnce: a peer that was asked to wait hears by an ACK of its own
// that half of the queue has been taken, and not before.
func TestHoldEndsAtOnce(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	for range recvQueueItems {
		l.give(data(sid, l.rx.nxt, frame.FlagLast, "x"))
	}
	l.take()
	l.give(data(sid, l.rx.nxt, frame.FlagLast, "one too many"))
	out := l.take()
	only(t, out, frame.TypeAck)
	if !bytes.Equal(out[0].Payload, []byte{frame.AckHold}) || l.Stats().Held != 1 {
		t.Fatalf("said %+v", out[0])
	}
	for range recvQueueItems/2 - 1 {
		l.Next()
	}
	only(t, l.take())
	l.Next()
	out = l.take()
	only(t, out, frame.TypeAck)
	if len(out[0].Payload) != 0 || out[0].Ack != recvQueueItems {
		t.Errorf("said %+v", out[0])
	}
}

func TestSendRefuses(t *testing.T) {
	l := newLone(t, false)
	if err := l.Send(l.sid, 0, []byte("x")); !errors.Is(err, ErrDown) {
		t.Errorf("without a session: %v", err)
	}
	l.stand(1)
	for _, c := range []struct {
		channel, size int
		want          error
	}{{-1, 1, ErrChannel}, {2, 1, ErrChannel}, {0, 0, ErrEmpty}, {0, MaxMessage + 1, ErrTooLarge}} {
		if err := l.Send(l.sid, c.channel, make([]byte, c.size)); !errors.Is(err, c.want) {
			t.Errorf("channel %d, %d bytes: %v, want %v", c.channel, c.size, err, c.want)
		}
	}
	for ch := range Channels {
		for range sendQueueMessages {
			if err := l.Send(l.sid, ch, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Send(l.sid, ch, []byte("x")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("channel %d: %v", ch, err)
		}
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	l.Close()
	l.Close()
	out := l.take()
	only(t, out, frame.TypeReset)
	if out[0].SID != sid || Reason(out[0].Payload[0]) != ReasonClosed {
		t.Errorf("said %+v", out[0])
	}
	l.give(syn(9))
	if evs := l.events(); len(evs) != 1 || evs[0].Reason != ReasonLocal || len(l.take()) != 0 || !l.Deadline().IsZero() {
		t.Errorf("life after Close: %+v", evs)
	}
}

// TestEndedSessionStaysEnded: a late frame of it does not bring it back.
func TestEndedSessionStaysEnded(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	l.give(reset(sid, ReasonClosed))
	l.events()
	l.pass(time.Second)
	l.give(ping(sid), data(sid, 0, frame.FlagLast, "late"))
	only(t, l.take(), frame.TypeReset)
	if evs := l.events(); len(evs) != 0 || l.Up() {
		t.Errorf("events %+v", evs)
	}
}

// TestEarlyFragmentsDoNotPassTheQueuesBound: what came early waits like the rest
// when nobody takes events.
func TestEarlyFragmentsDoNotPassTheQueuesBound(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	for range recvQueueItems - 1 {
		l.give(data(sid, l.rx.nxt, frame.FlagLast, "x"))
	}
	for i := range uint16(Window - 1) {
		l.give(data(sid, l.rx.nxt+1+i, frame.FlagLast, "early"))
	}
	l.give(data(sid, l.rx.nxt, frame.FlagLast, "the gap"))
	if n := len(l.q.items); n != recvQueueItems {
		t.Errorf("%d events wait, want %d", n, recvQueueItems)
	}
	if n := len(l.events()); n != recvQueueItems+Window-1 {
		t.Errorf("%d events in the end", n)
	}
}

// TestSilentPeerIsAskedAgain and again, until it counts as gone.
func TestSilentPeerIsAskedAgain(t *testing.T) {
	l := newLone(t, true)
	l.stand(1)
	pings := 0
	for start := l.now; l.Up(); l.pass(100 * time.Millisecond) {
		for _, f := range l.take() {
			if f.Type == frame.TypePing {
				pings++
			}
		}
		if l.now.Sub(start) > deadAfter+time.Second {
			t.Fatal("a silent peer is never gone")
		}
	}
	if want := 1 + int((deadAfter-keepAliveInitiator-1)/pingAgain); pings != want {
		t.Errorf("%d PINGs, want %d", pings, want)
	}
}

// TestFlappingPeerIsPaced: a responder that accepts and resets for ever costs a
// few frames a second and a bounded queue.
func TestFlappingPeerIsPaced(t *testing.T) {
	l := newLone(t, true)
	sessions := 0
	for range 10_000 {
		for _, f := range l.take() {
			if f.Type == frame.TypeSyn {
				sid := sessionID([8]byte(f.Payload[1:]), [8]byte{1})
				l.give(frame.Frame{Type: frame.TypeAccept, SID: sid, Payload: []byte{Version, 1, 0, 0, 0, 0, 0, 0, 0}}, reset(sid, ReasonClosed))
				sessions++
			}
		}
		l.pass(time.Millisecond)
	}
	if sessions > 15 {
		t.Errorf("%d sessions in ten seconds", sessions)
	}
	if n := len(l.events()); n != 2*sessions {
		t.Errorf("%d events for %d sessions", n, sessions)
	}
}

// TestNobodyReadsWhileThePeerReconnects: without a reader the queue of events
// stays bounded and the last session that fits stands.
func TestNobodyReadsWhileThePeerReconnects(t *testing.T) {
	l := newLone(t, false)
	for i := range 1000 {
		l.pass(beginEvery)
		l.give(frame.Frame{Type: frame.TypeSyn, Payload: []byte{Version, byte(i), byte(i >> 8), 1, 1, 1, 1, 1, 1}})
		for _, f := range l.take() {
			if f.Type == frame.TypeAccept {
				l.give(ping(f.SID), data(f.SID, 0, frame.FlagLast, "x"))
			}
		}
	}
	if n := len(l.q.items); n > 2*recvQueueItems+2 {
		t.Errorf("%d events wait", n)
	}
}

// TestMemoryOfAHostilePeer measures what the worst peer makes a Conn hold.
func TestMemoryOfAHostilePeer(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := newLone(t, false)
	sid := l.stand(1)
	chunk := string(bytes.Repeat([]byte{'x'}, frame.MaxPayload))
	send := func(n int, flags, last frame.Type) {
		for i := range n {
			if i == n-1 {
				flags |= last
			}
			l.give(data(sid, l.rx.nxt, flags, chunk))
			l.take()
		}
	}
	const longest = MaxMessage / frame.MaxPayload
	send(longest, frame.FlagBulk, frame.FlagLast) // taken by nobody,
	for range longest - 1 {
		send(1, 0, frame.FlagLast) // the queue is just not full,
	}
	send(longest, 0, 0)                           // one unfinished message
	send(longest, frame.FlagBulk, frame.FlagLast) // and one too many
	for i := range uint16(Window) {               // and everything early
		l.give(data(sid, l.rx.nxt+i, 0, chunk))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const slack = 64 << 10 // of the test's own
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > int64(heldMost.received)+slack {
		t.Errorf("%d bytes held", held)
	}
	if h := l.holds(); h.received < 600<<10 || h.received > heldMost.received {
		t.Errorf("%+v measured", h)
	}
	runtime.KeepAlive(l)
}
