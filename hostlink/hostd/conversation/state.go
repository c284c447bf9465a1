package conversation

import (
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// State says in a line how the conversation is.
func (b *Board) State() string {
	switch {
	case b.conv == nil:
		return "down: " + b.linkText
	case b.conv.halted:
		return b.conv.haltedText()
	case !b.conv.ready:
		return "not verified: " + b.conv.problem
	}
	return "up"
}

// Ready reports whether a job can be submitted.
func (b *Board) Ready() bool { return b.Proven() && !b.conv.halted }

// Proven reports whether the board has proven itself and nothing speaks against it; it
// may have halted.
func (b *Board) Proven() bool {
	return b.conv != nil && b.conv.ready && b.evidence == "" && !b.stopping
}

// Up reports whether there is a session with the board.
func (b *Board) Up() bool { return b.conv != nil }

// Met reports whether the board has proven itself in this session; it may have halted.
func (b *Board) Met() bool { return b.Up() && b.conv.ready }

// Halted reports whether the board says that it has.
func (b *Board) Halted() bool { return b.Up() && b.conv.halted }

// Listens reports whether the board takes what a halted one takes too: orders and challenges.
func (b *Board) Listens() bool { return b.Met() || b.Halted() }

// Suspect reports whether what comes over the link contradicts what is proven.
func (b *Board) Suspect() bool { return b.Up() && b.conv.suspect }

// HaltedText says that the board has halted, and in which state; it has.
func (b *Board) HaltedText() string { return b.conv.haltedText() }

// Evidence is what contradicts the log, empty if nothing does.
func (b *Board) Evidence() string { return b.evidence }

// Tell fills in what a status says of the board and the conversation with it.
func (b *Board) Tell(s *api.Status) {
	s.Link, s.Verified, s.Evidence, s.Days = b.State(), b.Ready(), b.evidence, -1
	if c := b.conv; c != nil && c.welcome != nil {
		s.BoardTime = c.welcome.Time.Format(time.RFC3339)
		s.Board, s.Firmware = c.welcome.State, c.welcome.Firmware
		s.Writes, s.Days = c.welcome.Writes, c.welcome.Days
		s.Age = int(b.o.Loop.Clock().Sub(c.seen).Seconds())
	}
	if b.Halted() {
		s.Board, s.Halt = message.StateHalted, b.conv.halt
	}
}

// ClocksApart says that the board would refuse every request because of the clocks, nil if
// it would not. It is the board that decides, when a request comes: this is for
// whoever asks before.
func (b *Board) ClocksApart() *api.Response {
	p := b.o.Mirror.Policy()
	if p == nil || !b.Ready() || b.conv.welcome == nil || b.conv.ahead.Abs() <= p.MaxSkew {
		return nil
	}
	where := "ahead of"
	if b.conv.ahead < 0 {
		where = "behind"
	}
	return api.Fail(api.Refused, "the appliance's clock is %s %s this host's, and it refuses requests from more than %s on (clock-skew): set the wrong one", b.conv.ahead.Abs().Round(time.Second), where, p.MaxSkew)
}
