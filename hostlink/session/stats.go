package session

import "touchmark/hostlink/frame"

// Refusal is a class of well-formed frame that is not believed. A refused frame
// changes nothing and, but for RefusedLength, keeps the session.
type Refusal uint8

// The classes.
const (
	RefusedRole    Refusal = iota // SYN to an initiator, ACCEPT to a responder
	RefusedVersion                // SYN or ACCEPT of another version: answered, reported
	RefusedAccept                 // ACCEPT that does not answer our SYN
	RefusedSession                // frame of a session not known here: a responder answers RESET
	RefusedReason                 // RESET with a reason that does not go with its session id
	RefusedAck                    // acknowledges what was never sent
	RefusedSeq                    // number outside the window
	RefusedLength                 // message longer than MaxMessage: ends the session
	RefusedBusy                   // a new session so soon after the last, or while nobody takes events

	Refusals = iota // how many classes there are
)

var refusalText = [Refusals]string{
	RefusedRole:    "wrong side",
	RefusedVersion: "other version",
	RefusedAccept:  "ACCEPT that answers nothing",
	RefusedSession: "unknown session",
	RefusedReason:  "reason not allowed",
	RefusedAck:     "ack outside the window",
	RefusedSeq:     "seq outside the window",
	RefusedLength:  "message too long",
	RefusedBusy:    "not ready for a session",
}

// Error implements error.
func (r Refusal) Error() string { return "session: " + refusalText[r] }

// Stats counts what a Conn has seen since New.
type Stats struct {
	Frames  frame.Stats
	Refused [Refusals]uint64 // well-formed frames not believed, by class
	Copies  uint64           // frames that had arrived before
	Held    uint64           // fragments dropped because the layer above was behind
	Resent  uint64           // fragments sent again
}

func (c *Conn) refuse(r Refusal) { c.stats.Refused[r]++ }
