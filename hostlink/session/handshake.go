package session

import (
	"time"

	"touchmark/hostlink/frame"
)

// handshake is what both roles remember between sessions.
type handshake struct {
	nonce   [8]byte       // initiator: of the session wanted or held
	synAt   time.Time     // initiator: when to call again
	synWait time.Duration // initiator: pause after that
	young   int           // initiator: sessions in a row that did not last
	refused bool          // ReasonVersion already reported
	hintAt  time.Time     // initiator: no reaction to "just started" before this

	half    bool    // responder: an ACCEPT is out
	theirs  [8]byte // responder: the nonce it answered
	ours    [8]byte
	halfSID uint32
	current [8]byte   // responder: initiator's nonce of the present session
	beganAt time.Time // responder: when that began
	resetAt time.Time // responder: no RESET for an unknown session before this
}

// open makes the initiator call with a fresh nonce, first at the given time.
func (c *Conn) open(at time.Time) {
	c.state = opening
	c.hs.nonce = c.cfg.Nonce()
	c.hs.synAt, c.hs.synWait = at, synFirst
}

// onSyn prepares a session beside the present one, which stays until the first
// frame of the new one proves that the initiator heard the answer.
func (c *Conn) onSyn(f *frame.Frame) {
	if c.cfg.Initiator {
		c.refuse(RefusedRole)
		return
	}
	if f.Payload[0] != Version {
		c.ctl.version = true
		c.otherVersion(f.Payload[0])
		return
	}
	nonce := [8]byte(f.Payload[1:])
	if c.state == up && nonce == c.hs.current {
		c.stats.Copies++ // late copy of the SYN that made this session
		return
	}
	if !c.hs.half || c.hs.theirs != nonce {
		c.hs.half, c.hs.theirs, c.hs.ours = true, nonce, c.cfg.Nonce()
		c.hs.halfSID = sessionID(nonce, c.hs.ours)
	}
	c.ctl.accept = true
}

// onAccept completes the initiator's handshake.
func (c *Conn) onAccept(now time.Time, f *frame.Frame) {
	switch {
	case !c.cfg.Initiator:
		c.refuse(RefusedRole)
		return
	case f.Payload[0] != Version:
		c.otherVersion(f.Payload[0])
		return
	case c.state != opening || f.SID != sessionID(c.hs.nonce, [8]byte(f.Payload[1:])):
		c.refuse(RefusedAccept)
		return
	case !c.q.room():
		c.refuse(RefusedBusy)
		return
	}
	c.start(now, f.SID)
	c.ctl.ping = true // proves to the responder that we heard it
	c.live.pingAt = now.Add(c.pingPause())
}

// establish makes the half-open session the present one, unless the last one is
// too young or the layer above so far behind that not even that can be told: the
// peer will repeat.
func (c *Conn) establish(now time.Time) bool {
	if !c.q.room() || now.Sub(c.hs.beganAt) < beginEvery {
		c.refuse(RefusedBusy)
		return false
	}
	c.hs.beganAt = now
	if c.state == up {
		c.q.push(Event{Kind: Down, SID: c.sid, Reason: ReasonReplaced})
	}
	c.hs.half, c.hs.current = false, c.hs.theirs
	c.ctl.accept = false
	c.start(now, c.hs.halfSID)
	return true
}

// start begins an established session with fresh state on both directions.
func (c *Conn) start(now time.Time, sid uint32) {
	c.state, c.sid = up, sid
	c.tx, c.rx = sender{}, receiver{}
	c.tx.bulkWindow = bulkStart
	c.ctl.ping, c.ctl.pong = false, false
	c.live = liveness{since: now, heard: now, confirmed: !c.cfg.Initiator}
	c.live.pingAt = now.Add(c.cfg.KeepAlive)
	c.hs.refused = false
	c.q.push(Event{Kind: Up, SID: sid})
}

// down ends the present session. An initiator calls again.
func (c *Conn) down(now time.Time, r Reason) {
	if c.state != up {
		return
	}
	c.q.push(Event{Kind: Down, SID: c.sid, Reason: r})
	c.tx, c.rx = sender{}, receiver{}
	c.ctl.ping, c.ctl.pong = false, false
	if !c.cfg.Initiator {
		c.state = idle
		return
	}
	c.open(now.Add(c.pause(now)))
}

// pause before the next call: none after a session that lasted, or after the
// first that did not; then growing, so that a peer that accepts and resets for
// ever costs next to nothing.
func (c *Conn) pause(now time.Time) time.Duration {
	if now.Sub(c.live.since) >= steadyAfter {
		c.hs.young = 0
		return 0
	}
	c.hs.young = min(c.hs.young+1, 4)
	if c.hs.young == 1 {
		return 0
	}
	return min(synFirst<<(c.hs.young-2), synMost)
}

// unknown answers a frame of a session the responder does not hold.
func (c *Conn) unknown(now time.Time, sid uint32) {
	c.refuse(RefusedSession)
	if c.cfg.Initiator || now.Before(c.hs.resetAt) {
		return
	}
	c.hs.resetAt = now.Add(resetEvery)
	c.ctl.reset = resetFrame{due: true, sid: sid, reason: ReasonUnknown}
}

// onReset believes a RESET only for the present session; with sid 0 it is a
// hint to look again.
func (c *Conn) onReset(now time.Time, f *frame.Frame) {
	reason := Reason(f.Payload[0])
	switch {
	case f.SID == 0 && reason == ReasonRestarted && c.cfg.Initiator:
		c.hint(now)
	case f.SID == 0 || reason < ReasonUnknown || reason > ReasonClosed:
		c.refuse(RefusedReason)
	case c.state == up && f.SID == c.sid:
		c.down(now, reason)
	default:
		c.refuse(RefusedSession)
	}
}

// hint reacts to a responder that says it has just started: call at once, or
// ask whether it still knows the present session.
func (c *Conn) hint(now time.Time) {
	if now.Before(c.hs.hintAt) {
		return
	}
	c.hs.hintAt = now.Add(resetEvery)
	if c.state == opening {
		c.hs.synAt = now
	} else if c.state == up {
		c.ctl.ping = true
	}
}

// otherVersion reports once that no session can be made; an initiator goes on
// calling, as the peer may be replaced. A session that stands is not disturbed.
func (c *Conn) otherVersion(theirs uint8) {
	c.refuse(RefusedVersion)
	if c.state != up && !c.hs.refused && c.q.room() {
		c.hs.refused = true
		c.q.push(Event{Kind: Down, Reason: ReasonVersion, Version: VersionError{theirs, c.cfg.Initiator}})
	}
}
