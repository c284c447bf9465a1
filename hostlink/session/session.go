// Package session makes a serial line into two reliable message channels.
//
// # Format
//
// Frames of package frame; docs/spec/session.md is the authority. The
// initiator (repository host) opens with SYN, the responder (board) answers
// ACCEPT, both compute the session id from both nonces, and the session stands
// on the responder's side when the first frame with that id arrives. DATA frames
// of both channels share one sequence; losses are found by selective
// acknowledgement and mended by selective retransmission.
//
// # Guarantees
//
// Within one session each channel delivers whole messages, each exactly once,
// in the order sent: a prefix of what was sent if the session ends early.
// Nothing of an earlier session is ever delivered in a later one. Nothing is
// promised across sessions: the layer above repeats what it must, under its own
// job identities. Memory is bounded whatever the peer sends, and every wait has
// an end: a session whose peer is silent or takes no data goes down.
// The session protects against accidents, not against who holds the cable.
//
// The package is pure: time and nonces are passed in, and a [Conn] belongs to
// one goroutine at a time.
package session

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"touchmark/hostlink/frame"
)

// Errors of Send.
var (
	ErrDown      = errors.New("link is down: that session with the other side is not, or no more")
	ErrQueueFull = errors.New("link is busy: send queue is full")
	ErrTooLarge  = fmt.Errorf("message is longer than %d bytes", MaxMessage)
	ErrEmpty     = errors.New("message is empty")
	ErrChannel   = errors.New("no such channel")
)

// Reason says why a session went down, or why none could be made
// (ReasonVersion). It is an error for its text.
type Reason uint8

// The reasons. The first three and ReasonRestarted are codes of RESET too.
const (
	ReasonUnknown   Reason = 1 // the peer does not know this session: it restarted
	ReasonProtocol  Reason = 2 // broken rule in a frame whose checksum was right
	ReasonClosed    Reason = 3 // the peer ends in good order
	ReasonVersion   Reason = 4 // the peer speaks another link version; never in a RESET
	ReasonRestarted Reason = 5 // RESET with sid 0 only: "I just started, open to me"
	ReasonSilent    Reason = 6 // nothing heard for too long
	ReasonStalled   Reason = 7 // the peer answers but takes no data
	ReasonReplaced  Reason = 8 // the initiator opened a new session
	ReasonLocal     Reason = 9 // closed on this side
)

var reasonText = map[Reason]string{
	ReasonUnknown:   "the other side restarted",
	ReasonProtocol:  "the other side broke the link protocol",
	ReasonClosed:    "the other side closed the link",
	ReasonVersion:   "the other side speaks another link version",
	ReasonRestarted: "the other side has just started",
	ReasonSilent:    "the other side is silent: check cable, power and baud rate",
	ReasonStalled:   "the other side takes no data",
	ReasonReplaced:  "the other side opened a new session",
	ReasonLocal:     "closed on this side",
}

// Error implements error.
func (r Reason) Error() string {
	if s, ok := reasonText[r]; ok {
		return s
	}
	return fmt.Sprintf("link down, reason %d", uint8(r))
}

// Kind tells the events apart.
type Kind uint8

// The kinds of event.
const (
	Up      Kind = iota + 1 // a session stands: SID
	Down                    // it ended: SID, Reason. SID 0: none could be made (ReasonVersion)
	Message                 // SID, Channel, Body
)

// Event is something the layer above must know, in the order it happened.
type Event struct {
	Kind    Kind
	SID     uint32
	Reason  Reason
	Channel int
	Body    []byte // owned by the receiver of the event

	// Version comes with ReasonVersion.
	Version VersionError
}

// Err says as an error why the link went down: a [Reason] or a [VersionError].
func (e Event) Err() error {
	if e.Reason == ReasonVersion {
		return e.Version
	}
	return e.Reason
}

// VersionError says that the peer speaks another link version, and what to do.
// It wraps ReasonVersion.
type VersionError struct {
	Theirs uint8 // never 0, never Version
	Host   bool  // this side is the repository host, the other the board
}

// Error implements error.
func (e VersionError) Error() string {
	here, there := "appliance", "repository host"
	if e.Host {
		here, there = there, here
	}
	behind := "the " + there
	if e.Theirs > Version {
		behind = "this " + here
	}
	return fmt.Sprintf("the %s speaks link version %d, this %s version %d: upgrade touchmark on %s", there, e.Theirs, here, Version, behind)
}

// Unwrap returns ReasonVersion.
func (e VersionError) Unwrap() error { return ReasonVersion }

// Config of a connection. Only Nonce is required.
type Config struct {
	Initiator bool
	Nonce     func() [8]byte // fresh and unpredictable at each call
	Baud      int            // line rate for time-outs and fragment size; 0: no limit known
	Fragment  int            // payload bytes per DATA frame; 0: chosen from Baud
	KeepAlive time.Duration  // 0: 5 s initiator, 8 s responder
	DeadAfter time.Duration  // 0: 15 s
}

func (c Config) withDefaults() Config {
	if c.Nonce == nil {
		panic("session: Config.Nonce is required")
	}
	if c.Fragment < 1 || c.Fragment > frame.MaxPayload {
		c.Fragment = 0
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = keepAliveResponder
		if c.Initiator {
			c.KeepAlive = keepAliveInitiator
		}
	}
	if c.DeadAfter == 0 {
		c.DeadAfter = deadAfter
	}
	return c
}

// state of a Conn.
type state uint8

const (
	idle    state = iota // responder without a session
	opening              // initiator without a session
	up
	closed // after Close
)

// Conn is one end of the link, from the opening of the device to its loss.
type Conn struct {
	cfg   Config
	state state
	sid   uint32
	fast  bool // frames arrive faster than Baud allows: a pty or USB, not a UART
	dec   frame.Decoder
	hs    handshake
	tx    sender
	rx    receiver
	ctl   control
	live  liveness
	q     queue
	wire  []byte    // buffer of Output
	spoke time.Time // last Output that was not empty
	quiet bool      // that was a while ago
	clear time.Time // when all that was written has left, if the line is as fast as configured
	stats Stats
}

// New returns a connection at the moment its line is open. An initiator begins
// to call, a responder announces itself once.
func New(cfg Config, now time.Time) *Conn {
	c := &Conn{cfg: cfg.withDefaults()}
	if c.cfg.Initiator {
		c.open(now)
	} else {
		c.ctl.reset = resetFrame{due: true, reason: ReasonRestarted}
	}
	return c
}

// Input takes bytes from the line, cut anywhere.
func (c *Conn) Input(now time.Time, wire []byte) {
	for len(wire) > 0 && c.state != closed {
		f, n, ok := c.dec.Feed(wire)
		wire = wire[n:]
		if ok {
			c.handle(now, &f)
		}
	}
}

// handle acts on one valid frame.
func (c *Conn) handle(now time.Time, f *frame.Frame) {
	switch f.Type {
	case frame.TypeSyn:
		c.onSyn(f)
	case frame.TypeAccept:
		c.onAccept(now, f)
	case frame.TypeReset:
		c.onReset(now, f)
	default:
		c.onSession(now, f)
	}
}

// onSession handles the frames that belong to an established session.
func (c *Conn) onSession(now time.Time, f *frame.Frame) {
	switch {
	case c.state == up && f.SID == c.sid:
	case c.hs.half && f.SID == c.hs.halfSID:
		if !c.establish(now) {
			return
		}
	default:
		c.unknown(now, f.SID)
		return
	}
	if !c.tx.ackInRange(f.Ack) {
		c.refuse(RefusedAck)
		return
	}
	c.heard(now)
	switch {
	case f.Type.IsData():
		c.tx.onAck(c, now, f.Ack)
		c.onData(now, f)
	case f.Type == frame.TypeAck:
		c.onAck(now, f)
	case f.Type == frame.TypePing:
		c.tx.onAck(c, now, f.Ack)
		c.ctl.pong = true
	default:
		c.tx.onAck(c, now, f.Ack)
	}
}

// Send queues a copy of msg on a channel of session sid, as Up named it. It
// answers ErrDown if that is not the present session: what was meant for one
// peer is never said to the next.
func (c *Conn) Send(sid uint32, channel int, msg []byte) error {
	switch {
	case channel < 0 || channel >= Channels:
		return ErrChannel
	case len(msg) == 0:
		return ErrEmpty
	case len(msg) > MaxMessage:
		return ErrTooLarge
	case c.state != up || sid != c.sid:
		return ErrDown
	}
	return c.tx.push(channel, msg)
}

// Output returns the next bytes for the line: whole frames, every control frame
// and acknowledgement that is due and as many DATA frames as fit into max bytes,
// but one at least; nothing if none is due. They are valid until the next call and
// count as written: the caller writes all of them, in this order, or ends the
// connection. It runs the timers as Tick does. Call it when Tick or Input was
// called, Send or Next gave something, a write has ended, and at Deadline.
func (c *Conn) Output(now time.Time, max int) []byte {
	c.Tick(now)
	c.wire, c.quiet = c.wire[:0], now.Sub(c.spoke) >= quietAfter
	c.putControl()
	for c.state == up && (len(c.wire) == 0 || len(c.wire)+frame.MaxWire <= max) {
		if !c.putData(now) {
			break
		}
	}
	if c.state == up && c.rx.ackNow {
		c.putAck()
	}
	if len(c.wire) > 0 {
		c.spoke = now
		c.clear = c.clearAfter(now, 0)
	}
	c.tx.paceAt = time.Time{}
	if at := c.clear.Add(-bulkLead); c.state == up && at.After(now) && c.tx.bulkWaits() {
		c.tx.paceAt = at
	}
	return c.wire
}

// Next returns the oldest event not yet taken.
func (c *Conn) Next() (Event, bool) {
	e, ok := c.q.pop()
	if ok && c.state == up && c.rx.stalled {
		c.resume()
	}
	return e, ok
}

// Up reports whether a session stands.
func (c *Conn) Up() bool { return c.state == up }

// Stats returns the counts since New.
func (c *Conn) Stats() Stats {
	s := c.stats
	s.Frames = c.dec.Stats()
	return s
}

// Close ends the session; the next Output tells the peer. Nothing happens on
// the connection after that.
func (c *Conn) Close() {
	if c.state == closed {
		return
	}
	if c.state == up {
		c.ctl = control{reset: resetFrame{due: true, sid: c.sid, reason: ReasonClosed}}
		c.q.push(Event{Kind: Down, SID: c.sid, Reason: ReasonLocal})
	}
	c.state = closed
}

// sessionID derives the id from both nonces: the first four bytes of SHA-256
// over a domain line, the initiator's and the responder's nonce; 0 becomes 1.
func sessionID(initiator, responder [8]byte) uint32 {
	h := sha256.New()
	h.Write([]byte("touchmark/session/v1\n"))
	h.Write(initiator[:])
	h.Write(responder[:])
	return max(1, binary.BigEndian.Uint32(h.Sum(nil)))
}
