package session

import (
	"encoding/binary"
	"math/bits"
	"time"

	"touchmark/hostlink/frame"
)

// fragment is a DATA frame kept until its predecessors arrive.
type fragment struct {
	typ     frame.Type
	payload []byte // nil: not here
}

// receiver is the receiving half of one session.
type receiver struct {
	nxt     uint16           // next sequence number expected
	early   [Window]fragment // frame nxt+i at (nxt+i) mod Window
	have    uint32           // bit i: frame nxt+1+i is in early
	partial [Channels][]byte // message being put together

	unacked int       // frames since the peer was last told
	ackAt   time.Time // zero: no acknowledgement waits
	ackNow  bool      // the peer is to be told at once, by DATA if some is due
	pure    bool      // only an ACK frame can tell it: a gap, or stalled changed
	stalled bool      // the layer above is behind: nxt is not taken
}

// onData takes one fragment.
func (c *Conn) onData(now time.Time, f *frame.Frame) {
	r := &c.rx
	switch d := int16(f.Seq - r.nxt); {
	case d < 0 && d >= -Window:
		c.stats.Copies++
		r.ackNow = true // our acknowledgement was lost
	case d < 0 || d >= Window:
		c.refuse(RefusedSeq)
	case d > 0:
		r.keep(f, uint(d))
		r.tell()
	case r.stalled || c.q.full():
		c.stats.Held++
		r.stalled = true
		r.tell()
	default:
		if c.take(now, f.Type, f.Payload) && c.takeEarly(now) {
			r.owe(now)
		}
	}
}

// keep stores a fragment that came d frames early, 0 < d < Window.
func (r *receiver) keep(f *frame.Frame, d uint) {
	slot := &r.early[f.Seq%Window]
	if slot.payload == nil {
		*slot = fragment{f.Type, append([]byte(nil), f.Payload...)}
		r.have |= 1 << (d - 1)
	}
}

// take appends the fragment numbered nxt to its message. It returns false if
// that ended the session.
func (c *Conn) take(now time.Time, typ frame.Type, payload []byte) bool {
	r := &c.rx
	channel := Interactive
	if typ&frame.FlagBulk != 0 {
		channel = Bulk
	}
	if len(r.partial[channel])+len(payload) > MaxMessage {
		sid := c.sid
		c.refuse(RefusedLength)
		c.down(now, ReasonProtocol)
		c.ctl.reset = resetFrame{due: true, sid: sid, reason: ReasonProtocol}
		return false
	}
	r.partial[channel] = appendMessage(r.partial[channel], payload)
	if typ&frame.FlagLast != 0 {
		c.q.push(Event{Kind: Message, SID: c.sid, Channel: channel, Body: r.partial[channel]})
		r.partial[channel] = nil
	}
	r.early[r.nxt%Window] = fragment{}
	r.nxt++
	r.have >>= 1
	r.unacked++
	return true
}

// appendMessage appends a fragment to a message, which grows by doubling but
// never beyond MaxMessage. The sum of both lengths is at most that.
func appendMessage(msg, payload []byte) []byte {
	if need := len(msg) + len(payload); need > cap(msg) {
		msg = append(make([]byte, 0, min(MaxMessage, max(need, 2*cap(msg)))), msg...)
	}
	return append(msg, payload...)
}

// takeEarly goes on with what came early, as far as the layer above keeps up.
// It returns false if that ended the session.
func (c *Conn) takeEarly(now time.Time) bool {
	r := &c.rx
	for {
		f := r.early[r.nxt%Window]
		if f.payload == nil {
			return true
		}
		if c.q.full() {
			r.stalled = true
			r.tell()
			return true
		}
		if !c.take(now, f.typ, f.payload) {
			return false
		}
	}
}

// resume lets the peer go on once half of the queue has been taken.
func (c *Conn) resume() {
	if !c.q.low() {
		return
	}
	c.rx.stalled = false
	c.rx.tell()
	c.takeEarly(c.live.heard)
}

// tell asks for an ACK frame.
func (r *receiver) tell() { r.ackNow, r.pure = true, true }

// owe asks for an acknowledgement: now if a gap remains or many frames wait,
// else when data travels the other way or ackDelay has passed.
func (r *receiver) owe(now time.Time) {
	switch {
	case r.have != 0:
		r.tell()
	case r.unacked >= ackEvery:
		r.ackNow = true
	case r.ackAt.IsZero():
		r.ackAt = now.Add(ackDelay)
	}
}

// told notes that nxt has just gone out in some frame.
func (r *receiver) told() {
	r.unacked, r.ackAt = 0, time.Time{}
	if !r.pure {
		r.ackNow = false
	}
}

// putAck appends an ACK frame: no payload, or flags and the bitmap of early
// frames without its trailing zero bytes.
func (c *Conn) putAck() {
	r := &c.rx
	var p [frame.MaxAckPayload]byte
	if r.stalled {
		p[0] = frame.AckHold
	}
	binary.LittleEndian.PutUint32(p[1:], r.have)
	n := 1 + (bits.Len32(r.have)+7)/8
	if n == 1 && p[0] == 0 {
		n = 0
	}
	r.pure = false
	c.put(&frame.Frame{Type: frame.TypeAck, SID: c.sid, Ack: r.nxt, Payload: p[:n]})
	r.told()
}

// parseAck reads the payload of an ACK, whose spelling frame has checked.
func parseAck(p []byte) (stalled bool, bitmap uint32) {
	if len(p) == 0 {
		return false, 0
	}
	var b [4]byte
	copy(b[:], p[1:])
	return p[0] == frame.AckHold, binary.LittleEndian.Uint32(b[:])
}

// onAck takes an ACK frame. One older than what is known says nothing.
func (c *Conn) onAck(now time.Time, f *frame.Frame) {
	t := &c.tx
	if int16(f.Ack-t.una) < 0 {
		return
	}
	stalled, bitmap := parseAck(f.Payload)
	if stalled {
		t.held = false // what it acknowledges does not end the hold it asks for
	}
	t.onAck(c, now, f.Ack)
	t.onSelective(c, now, bitmap)
	switch {
	case stalled:
		t.held = len(t.flights) > 0
	case t.held:
		t.release()
	}
}
