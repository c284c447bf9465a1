package session

import (
	"math/bits"
	"time"

	"touchmark/hostlink/frame"
)

// outgoing is a queued message, cut into frames as the window allows.
type outgoing struct {
	body []byte
	off  int // first byte not yet in a frame
}

// flight is a DATA frame that the peer has not acknowledged cumulatively.
type flight struct {
	typ     frame.Type
	payload []byte // aliases its message
	sentAt  time.Time
	clearAt time.Time // when its last byte has left, if the line is as fast as configured
	order   uint64    // number of its latest transmission, counting all
	tries   int
	acked   bool // selectively
	lost    bool // to be sent again
}

// sender is the sending half of one session.
type sender struct {
	queue  [Channels][]outgoing
	queued [Channels]int // bytes in queue
	streak int           // interactive frames since a bulk one or none waiting

	una     uint16   // oldest frame not acknowledged
	flights []flight // una, una+1, …
	bytes   int      // in flights, wire size
	bulk    int      // bulk frames in flights

	order      uint64
	bestAcked  uint64 // highest order known to have arrived
	bulkWindow int
	shrink     int  // full frames are cut to a 2^shrink-th: the line loses frames
	clean      int  // frames arrived since shrink last changed or one was lost
	held       bool // the peer asked to wait

	srtt, rttvar time.Duration
	backoff      int       // doublings of the time-out
	rtoAt        time.Time // zero: no timer
	paceAt       time.Time // bulk may go on then; zero: it need not wait
	progressAt   time.Time // last acknowledgement of something new
}

func (t *sender) push(channel int, msg []byte) error {
	if t.queued[channel]+len(msg) > sendQueueBytes || len(t.queue[channel]) >= sendQueueMessages {
		return ErrQueueFull
	}
	t.queue[channel] = append(t.queue[channel], outgoing{body: append([]byte(nil), msg...)})
	t.queued[channel] += len(msg)
	return nil
}

// ackInRange reports whether a peer of this session can have sent ack: up to
// the next new frame, or, in a frame that was overtaken, a little before una.
func (t *sender) ackInRange(ack uint16) bool {
	d := int(int16(ack - t.una))
	return d >= -Window && d <= len(t.flights)
}

// onAck takes a cumulative acknowledgement that is in range.
func (t *sender) onAck(c *Conn, now time.Time, ack uint16) {
	n := int(int16(ack - t.una))
	if n <= 0 {
		return
	}
	for i := range t.flights[:n] {
		f := &t.flights[i]
		if !f.acked {
			t.arrived(c, now, f)
		}
		t.bytes -= frame.Overhead + len(f.payload)
		if f.typ&frame.FlagBulk != 0 {
			t.bulk--
		}
	}
	rest := copy(t.flights, t.flights[n:])
	clear(t.flights[rest:])
	t.flights = t.flights[:rest]
	t.una = ack
	if t.held { // it has taken more since it asked to wait
		t.release()
	}
	t.progress(c, now)
}

// onSelective takes the bitmap of frames received beyond the gap at una.
func (t *sender) onSelective(c *Conn, now time.Time, bitmap uint32) {
	news := false
	for ; bitmap != 0; bitmap &= bitmap - 1 {
		i := bits.TrailingZeros32(bitmap) + 1
		if i < len(t.flights) && !t.flights[i].acked {
			f := &t.flights[i]
			f.acked, f.lost, news = true, false, true
			t.arrived(c, now, f)
		}
	}
	if news {
		t.progress(c, now)
	}
}

// arrived learns from a frame known to have arrived for the first time.
func (t *sender) arrived(c *Conn, now time.Time, f *flight) {
	if t.clean++; t.clean >= growAfter {
		t.clean, t.shrink = 0, max(0, t.shrink-1)
	}
	if f.tries == 1 {
		t.bestAcked = max(t.bestAcked, f.order)
		t.measure(c, now, f)
		return
	}
	// Karn: whose answer is this? Too early for the last copy, it is an earlier
	// one's and says nothing about what was sent between the two. It ends one
	// doubling, not all: a line that eats every first copy must not slow down for
	// ever, and a peer slower than the time-out must not be flooded.
	t.backoff = max(0, t.backoff-1)
	if !now.Before(f.clearAt.Add(t.srtt / 2)) {
		t.bestAcked = max(t.bestAcked, f.order)
	}
}

// measure learns from the round trip of a frame sent once.
func (t *sender) measure(c *Conn, now time.Time, f *flight) {
	if now.Sub(f.sentAt) < f.clearAt.Sub(f.sentAt)/2 {
		c.fast = true
	}
	extra := max(1, now.Sub(f.clearAt)) // beyond the line time; 0 would be "not measured"
	t.sample(extra)
	if f.typ&frame.FlagBulk == 0 {
		return
	}
	if extra > queueTarget+c.lineTime(c.fragment()) {
		t.bulkWindow = max(bulkLeast, t.bulkWindow-1)
	} else {
		t.bulkWindow = min(Window-reserve, t.bulkWindow+1)
	}
}

// sample updates the round-trip estimate (RFC 6298 §2), line time taken out, and
// ends the doubling of the time-out (§5.7).
func (t *sender) sample(rtt time.Duration) {
	t.backoff = 0
	if t.srtt == 0 {
		t.srtt, t.rttvar = rtt, rtt/2
		return
	}
	t.rttvar += ((t.srtt - rtt).Abs() - t.rttvar) / 4
	t.srtt += (rtt - t.srtt) / 8
}

// progress restarts the retransmission timer and marks as lost what was sent
// before something that has arrived: a serial line keeps the order.
func (t *sender) progress(c *Conn, now time.Time) {
	t.progressAt, t.rtoAt = now, time.Time{}
	lossy := false
	for i := range t.flights {
		f := &t.flights[i]
		if !f.acked && !f.lost && f.order < t.bestAcked {
			f.lost, lossy = true, true
		}
	}
	if lossy {
		t.clean, t.shrink = 0, min(t.shrink+1, shrinkMost)
	}
	if len(t.flights) > 0 {
		t.rtoAt = now.Add(t.rto(c))
	}
}

// rto is the retransmission time-out for what is in flight now.
func (t *sender) rto(c *Conn) time.Duration {
	wait := rtoFirst
	if t.srtt != 0 {
		wait = max(rtoLeast, t.srtt+4*t.rttvar)
	}
	wait = min(wait<<t.backoff, rtoMost)
	return wait + c.lineTime(rtoFrames*(c.fragment()+frame.Overhead)+t.bytes)
}

// onTimeout resends the oldest frame; what else was lost shows by its answer.
func (t *sender) onTimeout(c *Conn, now time.Time) {
	for i := range t.flights {
		if !t.flights[i].acked {
			t.flights[i].lost = true
			break
		}
	}
	t.backoff = min(t.backoff+1, 6)
	t.rtoAt = now.Add(t.rto(c))
}

// release lets a sender go on whose peer had asked to wait.
func (t *sender) release() {
	t.held = false
	for i := range t.flights {
		if !t.flights[i].acked {
			t.flights[i].lost = true
			return
		}
	}
}

// bulkWaits reports whether a bulk frame could go if the line were clear.
func (t *sender) bulkWaits() bool {
	return len(t.queue[Bulk]) > 0 && Window-len(t.flights) > reserve && t.bulk < t.bulkWindow && !t.held
}

// pick chooses the channel of the next new frame, or -1: interactive first, but
// after interactiveRun of them one bulk frame. Bulk waits while the line is not
// clear, so that little is ahead of an interactive frame to come.
func (t *sender) pick(clear bool) int {
	bulk := t.bulkWaits()
	inter := len(t.queue[Interactive]) > 0 && len(t.flights) < Window
	switch {
	case inter && (!bulk || t.streak < interactiveRun):
		return Interactive
	case bulk && (clear || inter):
		return Bulk
	}
	return -1
}

// cut takes the next fragment off a channel's queue.
func (t *sender) cut(channel, fragment int) flight {
	m := &t.queue[channel][0]
	n := min(fragment, len(m.body)-m.off)
	f := flight{typ: frame.TypeData, payload: m.body[m.off : m.off+n]}
	m.off += n
	t.queued[channel] -= n
	if m.off == len(m.body) {
		f.typ |= frame.FlagLast
		*m = outgoing{}
		t.queue[channel] = t.queue[channel][1:]
	}
	t.streak++
	if channel == Bulk {
		f.typ |= frame.FlagBulk
		t.bulk++
		t.streak = 0
	} else if len(t.queue[Bulk]) == 0 {
		t.streak = 0
	}
	return f
}

// putData appends one DATA frame to the output, a lost one first.
func (c *Conn) putData(now time.Time) bool {
	t := &c.tx
	i := t.next(max(1, c.fragment()>>t.shrink), c.clearAfter(now, 0).Sub(now) <= bulkLead)
	if i < 0 {
		return false
	}
	f := &t.flights[i]
	if f.tries > 0 { // whatever garbage ate it must not eat its copy
		c.wire = append(c.wire, frame.Delimiter)
		c.stats.Resent++
	}
	t.order++
	f.order, f.sentAt, f.lost = t.order, now, false
	f.clearAt = c.clearAfter(now, frame.Overhead+len(f.payload))
	f.tries++
	if t.rtoAt.IsZero() {
		t.rtoAt = now.Add(t.rto(c))
		t.progressAt = now
	}
	c.put(&frame.Frame{Type: f.typ, SID: c.sid, Seq: t.una + uint16(i), Ack: c.rx.nxt, Payload: f.payload})
	c.rx.told()
	return true
}

// next returns the index of the flight to transmit, -1 if none is due. Bulk goes
// only if the line is clear.
func (t *sender) next(fragment int, clear bool) int {
	for i := range t.flights {
		if t.flights[i].lost {
			return i
		}
	}
	if t.held {
		return -1
	}
	channel := t.pick(clear)
	if channel < 0 {
		return -1
	}
	f := t.cut(channel, fragment)
	t.bytes += frame.Overhead + len(f.payload)
	t.flights = append(t.flights, f)
	return len(t.flights) - 1
}
