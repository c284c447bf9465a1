package session

import (
	"time"

	"touchmark/hostlink/frame"
)

// control holds the frames due that are not DATA or ACK; at most one of each.
type control struct {
	syn, accept, version, ping, pong bool
	reset                            resetFrame
}

type resetFrame struct {
	due    bool
	sid    uint32
	reason Reason
}

// liveness is what the connection knows about time.
type liveness struct {
	since     time.Time // the session stands
	heard     time.Time // last frame of the session
	confirmed bool      // initiator: the responder has used the session id
	pingAt    time.Time
}

// heard notes a frame of the present session.
func (c *Conn) heard(now time.Time) {
	c.live.heard, c.live.confirmed = now, true
	c.live.pingAt = now.Add(c.cfg.KeepAlive)
}

// Tick acts on the timers that have run out and reports whether there were any:
// then Output and Next may have something. Output calls it too; it is for users
// whose line may be blocked.
func (c *Conn) Tick(now time.Time) bool {
	switch c.state {
	case opening:
		if now.Before(c.hs.synAt) {
			return false
		}
		c.ctl.syn = true
		c.hs.synAt = now.Add(c.hs.synWait)
		c.hs.synWait = min(2*c.hs.synWait, synMost)
		return true
	case up:
		return c.tickUp(now)
	}
	return false
}

func (c *Conn) tickUp(now time.Time) bool {
	switch {
	case passed(now, c.live.heard.Add(c.cfg.DeadAfter)):
		c.down(now, ReasonSilent)
		return true
	case len(c.tx.flights) > 0 && passed(now, c.tx.progressAt.Add(stallAfter)):
		c.down(now, ReasonStalled)
		return true
	}
	fired := false
	if passed(now, c.tx.rtoAt) {
		c.tx.onTimeout(c, now)
		fired = true
	}
	if passed(now, c.tx.paceAt) {
		c.tx.paceAt = time.Time{} // Output sets it again: a blocked line must not keep its user busy
		fired = true
	}
	if passed(now, c.rx.ackAt) {
		c.rx.ackNow, c.rx.ackAt = true, time.Time{}
		fired = true
	}
	if passed(now, c.live.pingAt) {
		c.ctl.ping = true
		c.live.pingAt = now.Add(c.pingPause())
		fired = true
	}
	return fired
}

// passed reports whether a timer that is set has run out.
func passed(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// Deadline returns when Output must be called again if nothing else happens;
// the zero time means never.
func (c *Conn) Deadline() time.Time {
	switch c.state {
	case opening:
		return c.hs.synAt
	case up:
		at := c.live.heard.Add(c.cfg.DeadAfter)
		at = earlier(at, c.live.pingAt)
		at = earlier(at, c.tx.rtoAt)
		at = earlier(at, c.rx.ackAt)
		at = earlier(at, c.tx.paceAt)
		if len(c.tx.flights) > 0 {
			at = earlier(at, c.tx.progressAt.Add(stallAfter))
		}
		return at
	}
	return time.Time{}
}

// earlier returns the earlier of two times; the zero time is no time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// lineTime is how long n bytes take on the line; 0 if the rate is unknown or
// has turned out to mean nothing.
func (c *Conn) lineTime(n int) time.Duration {
	if c.cfg.Baud <= 0 || c.fast {
		return 0
	}
	return time.Duration(n) * bitsPerByte * time.Second / time.Duration(c.cfg.Baud)
}

// clearAfter is when all that was written, what waits in the output and n bytes
// more have left, if the line is as fast as configured.
func (c *Conn) clearAfter(now time.Time, n int) time.Time {
	at := now
	if c.clear.After(now) && !c.fast {
		at = c.clear
	}
	return at.Add(c.lineTime(len(c.wire) + n))
}

// fragment is the payload of a full frame.
func (c *Conn) fragment() int {
	if c.cfg.Fragment != 0 {
		return c.cfg.Fragment
	}
	if c.fast {
		return frame.MaxPayload
	}
	return fragmentFor(c.cfg.Baud)
}

// put appends the wire form of f to the output. After a silence a delimiter
// comes first, which ends what noise may have left at the other side.
func (c *Conn) put(f *frame.Frame) {
	if c.quiet && len(c.wire) == 0 {
		c.wire = append(c.wire, frame.Delimiter)
	}
	c.wire = frame.Append(c.wire, f)
}

// putControl appends the control frames that are due. Those that open or probe
// begin with a delimiter, which ends whatever garbage the line held.
func (c *Conn) putControl() {
	ctl := c.ctl
	c.ctl = control{}
	if ctl.reset.due {
		c.wire = append(c.wire, frame.Delimiter)
		c.put(&frame.Frame{Type: frame.TypeReset, SID: ctl.reset.sid, Payload: []byte{byte(ctl.reset.reason)}})
	}
	if ctl.syn && c.state == opening {
		c.putHello(frame.TypeSyn, 0, c.hs.nonce)
	}
	if ctl.version {
		c.putHello(frame.TypeAccept, 1, [8]byte{})
	}
	if ctl.accept && c.hs.half {
		c.putHello(frame.TypeAccept, c.hs.halfSID, c.hs.ours)
	}
	if c.state != up {
		return
	}
	if ctl.ping {
		c.wire = append(c.wire, frame.Delimiter)
		c.put(&frame.Frame{Type: frame.TypePing, SID: c.sid, Ack: c.rx.nxt})
		c.rx.told()
	}
	if ctl.pong {
		c.put(&frame.Frame{Type: frame.TypePong, SID: c.sid, Ack: c.rx.nxt})
		c.rx.told()
	}
}

// pingPause is how long to wait for a PONG: short while the responder may not
// know yet that we heard its ACCEPT.
func (c *Conn) pingPause() time.Duration {
	if c.live.confirmed {
		return pingAgain
	}
	return synFirst + c.lineTime(4*frame.Overhead)
}

func (c *Conn) putHello(typ frame.Type, sid uint32, nonce [8]byte) {
	p := append(make([]byte, 0, frame.HelloPayload), Version)
	p = append(p, nonce[:]...)
	c.wire = append(c.wire, frame.Delimiter)
	c.put(&frame.Frame{Type: typ, SID: sid, Payload: p})
}
