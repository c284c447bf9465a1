package session

import (
	"bytes"
	"testing"

	"touchmark/hostlink/frame"
)

// refusals is a frame of every kind that is well formed and not believed, given
// to an end whose session stands with one fragment sent, and one arrived.
var refusals = []struct {
	name      string
	class     Refusal
	initiator bool
	frame     func(l *lone) frame.Frame
	answer    []frame.Type
	down      bool
}{
	{"SYN to an initiator", RefusedRole, true, func(*lone) frame.Frame { return syn(7) }, nil, false},
	{"ACCEPT to a responder", RefusedRole, false, func(*lone) frame.Frame { return hello(frame.TypeAccept, 5, Version) }, nil, false},
	{"SYN, version 2", RefusedVersion, false, func(*lone) frame.Frame { return hello(frame.TypeSyn, 0, 2) }, []frame.Type{frame.TypeAccept}, false},
	{"ACCEPT, version 2", RefusedVersion, true, func(*lone) frame.Frame { return hello(frame.TypeAccept, 5, 2) }, nil, false},
	{"ACCEPT while up", RefusedAccept, true, func(*lone) frame.Frame { return hello(frame.TypeAccept, 5, Version) }, nil, false},
	{"PING of another session", RefusedSession, false, func(*lone) frame.Frame { return ping(0xdead) }, []frame.Type{frame.TypeReset}, false},
	{"PING of another session, initiator", RefusedSession, true, func(*lone) frame.Frame { return ping(0xdead) }, nil, false},
	{"DATA of another session", RefusedSession, false, func(*lone) frame.Frame { return data(0xdead, 0, 0, "x") }, []frame.Type{frame.TypeReset}, false},
	{"RESET of another session", RefusedSession, false, func(*lone) frame.Frame { return reset(0xdead, ReasonUnknown) }, nil, false},
	{"RESET, reason 0", RefusedReason, true, func(l *lone) frame.Frame { return reset(l.sid, 0) }, nil, false},
	{"RESET, reason 4", RefusedReason, true, func(l *lone) frame.Frame { return reset(l.sid, ReasonVersion) }, nil, false},
	{"RESET, just started, of this session", RefusedReason, true, func(l *lone) frame.Frame { return reset(l.sid, ReasonRestarted) }, nil, false},
	{"RESET, reason 255", RefusedReason, true, func(l *lone) frame.Frame { return reset(l.sid, 255) }, nil, false},
	{"RESET of no session", RefusedReason, true, func(*lone) frame.Frame { return reset(0, ReasonClosed) }, nil, false},
	{"just started, to a responder", RefusedReason, false, func(*lone) frame.Frame { return reset(0, ReasonRestarted) }, nil, false},
	{"PING, ack of what was not sent", RefusedAck, false, func(l *lone) frame.Frame { f := ping(l.sid); f.Ack = 2; return f }, nil, false},
	{"DATA, ack of what was not sent", RefusedAck, false, func(l *lone) frame.Frame { f := data(l.sid, 1, 1, "x"); f.Ack = 0x8000; return f }, nil, false},
	{"DATA just beyond the window", RefusedSeq, false, func(l *lone) frame.Frame { return data(l.sid, 1+Window, 1, "x") }, nil, false},
	{"DATA just before the window", RefusedSeq, false, func(l *lone) frame.Frame { return data(l.sid, 0xffff-Window+1, 1, "x") }, nil, false},
	{"DATA half the numbers away", RefusedSeq, false, func(l *lone) frame.Frame { return data(l.sid, 0x8001, 1, "x") }, nil, false},
}

// busy is an end with a session, a fragment sent and a fragment arrived.
func busy(t testing.TB, initiator bool) *lone {
	l := newLone(t, initiator)
	sid := l.stand(1)
	if err := l.Send(sid, Interactive, []byte("sent")); err != nil {
		t.Fatal(err)
	}
	l.give(data(sid, 0, frame.FlagLast, "arrived"))
	l.take()
	l.events()
	return l
}

// TestEveryRefusal: each class is counted under its name, is answered as the
// specification says, leaves the session as it was, and costs no allocation.
func TestEveryRefusal(t *testing.T) {
	seen := map[Refusal]bool{RefusedLength: true, RefusedBusy: true} // have tests of their own
	for _, c := range refusals {
		seen[c.class] = true
		l := busy(t, c.initiator)
		f := c.frame(l)
		l.give(f)
		out := l.take()
		only(t, out, c.answer...)
		if evs := l.events(); len(evs) != 0 || !l.Up() || l.rx.nxt != 1 || len(l.tx.flights) != 1 {
			t.Errorf("%s: events %+v, next %d, %d in flight", c.name, evs, l.rx.nxt, len(l.tx.flights))
		}
		want := [Refusals]uint64{}
		want[c.class] = 1
		if got := l.Stats().Refused; got != want {
			t.Errorf("%s: counted %v", c.name, got)
		}
		wire := frame.Append(nil, &f)
		if n := testing.AllocsPerRun(200, func() { l.Input(l.now, wire) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	if len(seen) != Refusals {
		t.Errorf("%d classes of %d are tried", len(seen), Refusals)
	}
}

func TestNotReadyForASession(t *testing.T) {
	l := newLone(t, false)
	old := l.stand(1)
	next := l.accepted(2)
	l.give(ping(next))
	if !l.Up() || l.sid != old || l.Stats().Refused[RefusedBusy] != 1 {
		t.Errorf("a second session in the same instant: %+v", l.Stats())
	}
	l.pass(beginEvery)
	l.give(ping(next)) // as the initiator does that has not heard yet
	if l.sid != next {
		t.Error("the session is refused for ever")
	}
}

// flood gives an end the same wire again and again and returns what one time
// costs, output included.
func flood(l *lone, wire []byte) float64 {
	return testing.AllocsPerRun(500, func() {
		l.Input(l.now, wire)
		for len(l.Output(l.now, 1<<16)) > 0 {
		}
	})
}

// TestFloodsAllocateLittle: what a peer or a line can send without end costs a
// bounded count of allocations each, and none where nothing must be kept.
func TestFloodsAllocateLittle(t *testing.T) {
	wire := func(fs ...frame.Frame) (out []byte) {
		for i := range fs {
			out = frame.Append(out, &fs[i])
		}
		return out
	}
	for _, c := range []struct {
		name string
		wire func(l *lone) []byte
		most float64
	}{
		{"zeros", func(*lone) []byte { return make([]byte, 10000) }, 0},
		{"text", func(*lone) []byte { return bytes.Repeat([]byte("login: \r\n"), 1000) }, 0},
		{"a long piece", func(*lone) []byte { return append(bytes.Repeat([]byte{0xa5}, 20000), 0) }, 0},
		{"frames of unknown sessions", func(*lone) []byte { return wire(ping(0xdead), data(0xdead, 0, 0, "x")) }, 0},
		{"PING", func(l *lone) []byte { return wire(ping(l.sid)) }, 0},
		{"ACK", func(l *lone) []byte { return wire(frame.Frame{Type: frame.TypeAck, SID: l.sid}) }, 0},
		{"copies", func(l *lone) []byte { return wire(data(l.sid, 0, frame.FlagLast, "arrived")) }, 0},
		{"early fragments, the same", func(l *lone) []byte { return wire(data(l.sid, 9, frame.FlagLast, "early")) }, 0},
		{"holds", func(l *lone) []byte {
			return wire(frame.Frame{Type: frame.TypeAck, SID: l.sid, Payload: []byte{frame.AckHold, 1}})
		}, 0},
		{"SYN, the same", func(*lone) []byte { return wire(syn(9)) }, 0},
		{"SYN, two in turn: a nonce and its hash", func(*lone) []byte { return wire(syn(8), syn(9)) }, 2},
		{"SYN, version 2", func(*lone) []byte { return wire(hello(frame.TypeSyn, 0, 2)) }, 0},
	} {
		l := busy(t, false)
		if got := flood(l, c.wire(l)); got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.most)
		}
	}
}

// TestFragmentsAllocateLittle: a fragment that is taken costs its bytes, and now
// and then the queue of events grows.
func TestFragmentsAllocateLittle(t *testing.T) {
	for name, next := range map[string]func(l *lone) frame.Frame{
		"whole messages": func(l *lone) frame.Frame { return data(l.sid, l.rx.nxt, frame.FlagLast, "message") },
		"parts": func(l *lone) frame.Frame {
			flags := frame.FlagBulk
			if l.rx.nxt%100 == 0 {
				flags |= frame.FlagLast
			}
			return data(l.sid, l.rx.nxt, flags, "part of a message")
		},
		"early, then the gap": func(l *lone) frame.Frame {
			if l.rx.have == 0 {
				return data(l.sid, l.rx.nxt+1, frame.FlagLast, "early")
			}
			return data(l.sid, l.rx.nxt, frame.FlagLast, "gap")
		},
	} {
		l := busy(t, false)
		var wire []byte
		n := testing.AllocsPerRun(1000, func() {
			f := next(l)
			f.Ack = l.tx.una
			wire = frame.Append(wire[:0], &f)
			l.Input(l.now, wire)
			for len(l.Output(l.now, 1<<16)) > 0 {
			}
			l.Next()
		})
		if n > 3 { // the test's own frame is one of them
			t.Errorf("%s: %v allocations a fragment", name, n)
		}
	}
}
