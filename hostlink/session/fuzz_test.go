package session

import (
	"bytes"
	"encoding/binary"
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

// states are the ones that FuzzStream puts an end in.
var states = []func(t testing.TB) *lone{
	func(t testing.TB) *lone { return newLone(t, true) },
	func(t testing.TB) *lone { return newLone(t, false) },
	func(t testing.TB) *lone { l := newLone(t, false); l.accepted(1); return l },
	func(t testing.TB) *lone { return busy(t, true) },
	func(t testing.TB) *lone { return busy(t, false) },
	func(t testing.TB) *lone { // half messages, a gap, a full queue: the peer is held
		l := busy(t, false)
		for seq := range uint16(recvQueueItems + 2) {
			l.give(data(l.sid, seq+1, frame.FlagLast, "x"))
		}
		l.give(data(l.sid, l.rx.nxt+3, frame.FlagBulk, "early"))
		return l
	},
	func(t testing.TB) *lone { l := busy(t, false); l.Close(); return l },
}

// FuzzStream feeds a byte stream, cut anywhere, to an end in each of its states.
// With repair each piece between zeros is taken for the bytes of a frame and gets
// its checksum, so that mutations reach the session. The end stays inside its
// bounds, comes to rest, and what it says is well formed.
func FuzzStream(f *testing.F) {
	for i, state := range states {
		l := state(f)
		for j, fr := range []frame.Frame{syn(1), ping(l.sid | 1), data(l.sid|1, l.rx.nxt, frame.FlagLast, "m"), data(l.sid|1, l.rx.nxt+2, frame.FlagBulk, "b"),
			reset(l.sid, ReasonClosed), {Type: frame.TypeAck, SID: l.sid | 1, Ack: l.tx.una, Payload: []byte{frame.AckHold, 5}}} {
			wire := frame.Append(nil, &fr)
			f.Add(uint8(i), uint8(j), false, wire)
			f.Add(uint8(i), uint8(255), true, rawOf(wire))
		}
	}
	f.Fuzz(func(t *testing.T, state, cut uint8, repair bool, wire []byte) {
		l := states[int(state)%len(states)](t)
		if repair {
			wire = repaired(wire)
		}
		for len(wire) > 0 {
			n := min(len(wire), 1+int(cut))
			l.Input(l.now, wire[:n])
			wire = wire[n:]
			l.pass(time.Millisecond)
			l.settle()
		}
		l.events()
		l.pass(time.Minute)
		l.settle()
	})
}

// rawOf gives the bytes of the one frame on a wire before stuffing, without its
// checksum, zeros shown as 0xf0 so that a zero can end it.
func rawOf(wire []byte) []byte {
	f := decodeAll(wire)[0]
	raw := append([]byte{byte(f.Type)}, byte(f.SID>>24), byte(f.SID>>16), byte(f.SID>>8), byte(f.SID), byte(f.Seq>>8), byte(f.Seq), byte(f.Ack>>8), byte(f.Ack))
	return append(bytes.ReplaceAll(append(raw, f.Payload...), []byte{0}, []byte{0xf0}), 0)
}

// repaired makes a good frame of every piece that can be one.
func repaired(wire []byte) (out []byte) {
	for piece := range bytes.SplitSeq(wire, []byte{0}) {
		p := bytes.ReplaceAll(piece, []byte{0xf0}, []byte{0})
		if len(p) < 9 {
			continue
		}
		fr := frame.Frame{Type: frame.Type(p[0]), SID: binary.BigEndian.Uint32(p[1:]), Seq: binary.BigEndian.Uint16(p[5:]), Ack: binary.BigEndian.Uint16(p[7:]), Payload: p[9:]}
		if fr.Check() == nil {
			out = frame.Append(out, &fr)
		}
	}
	return out
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
	for rounds := 0; ; rounds++ {
		out := l.Output(l.now, 4096)
		if len(out) == 0 {
			break
		}
		var d frame.Decoder
		for len(out) > 0 {
			_, n, _ := d.Feed(out)
			out = out[n:]
		}
		if rounds > 500 || d.Stats().Refused() > 0 {
			l.t.Fatalf("endless or malformed output: %+v", d.Stats())
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
