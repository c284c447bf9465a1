package session

import (
	"testing"
	"time"

	"touchmark/hostlink/frame"
)

// FuzzInput plays a peer: each step of the script is a frame with fields out of
// the input and a right checksum, raw bytes, or the passing of time. Whatever it
// does, the Conn stays inside its bounds and comes to rest.
func FuzzInput(f *testing.F) {
	f.Add(false, []byte("\x00\x00\x00\x00\x00\x00\x04\x02\x00\x00\x00\x00\x07\x02\x00\x00\x00\x00"))
	f.Add(true, []byte("\x01\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, initiator bool, script []byte) {
		l := newLone(t, initiator)
		for len(script) >= 6 && len(script) < 1<<14 {
			script = l.step(script)
			l.settle()
		}
		l.pass(time.Minute)
		l.settle()
	})
}

// step consumes one step: kind, session, sequence, acknowledgement, two for
// the payload.
func (l *lone) step(s []byte) []byte {
	kind, pick, seq, ack, a, b := s[0]%14, s[1], s[2], s[3], s[4], s[5]
	s = s[6:]
	sids := []uint32{l.sid, l.hs.halfSID, 0, 0xdeadbeef}
	fr := frame.Frame{SID: sids[pick%4]}
	// Near the windows most of the time, so that something happens.
	fr.Ack = l.tx.una + uint16(int8(ack))
	switch {
	case kind < 6:
		fr.Type = frame.Type(kind + 1)
		fr.Payload = make([]byte, map[frame.Type]int{frame.TypeSyn: 9, frame.TypeAccept: 9, frame.TypeAck: int(a % 6), frame.TypeReset: 1}[fr.Type])
		for i := range fr.Payload {
			fr.Payload[i] = b + byte(i)*a
		}
		if fr.Type == frame.TypeAccept && pick < 128 {
			fr.SID = sessionID(l.hs.nonce, [8]byte(fr.Payload[1:]))
		}
	case kind < 10:
		fr.Type = frame.TypeData | frame.Type(kind-6)
		fr.Seq = l.rx.nxt + uint16(int8(seq))
		fr.Payload = make([]byte, 1+(int(a)<<8|int(b))%frame.MaxPayload)
	case kind == 10:
		l.Input(l.now, s[:min(len(s), int(a))])
	case kind == 11:
		l.pass(time.Duration(a) * time.Duration(b) * time.Millisecond)
	case kind == 12:
		l.Send(l.sid, int(a%2), make([]byte, 1+(int(b)<<9)))
	default:
		for range a {
			l.Next()
		}
	}
	if fr.Type == frame.TypeSyn {
		fr.SID = 0
	}
	if fr.Type == frame.TypeSyn || fr.Type == frame.TypeAccept || fr.Type == frame.TypeReset {
		fr.Ack = 0
	}
	if fr.Type != 0 && fr.Check() == nil {
		l.give(fr)
	}
	return s
}

// settle empties the output and checks the bounds.
func (l *lone) settle() {
	l.t.Helper()
	for rounds := 0; len(l.Output(l.now, 4096)) > 0; rounds++ {
		if rounds > 500 {
			l.t.Fatal("endless output")
		}
	}
	for rounds := 0; l.Tick(l.now); rounds++ {
		if rounds > 10 {
			l.t.Fatal("timers that never stop")
		}
	}
	if at := l.Deadline(); l.Up() && at.IsZero() {
		l.t.Fatal("a session without a deadline")
	}
	w := &world{t: l.t}
	w.measure(&node{conn: l.Conn})
}
