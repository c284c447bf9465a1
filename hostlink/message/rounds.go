package message

import (
	"slices"
	"time"

	"touchmark/hostlink/message/canon"
)

// Round is what a host says of one of its rules under which something waits for a
// signature. All of it is the host's claim.
type Round struct {
	Rule  string // a token
	Files int    // without a signature, 1..MaxCount
	State string // one of the constants below, or another token
	Since time.Time
	Next  time.Time // one opens by the host's schedule; zero if none does
}

// States of a Round. A board shows one it does not know as it stands.
const (
	RoundWaiting = "waiting" // until one opens
	RoundOpen    = "open"    // its files come on display as they can
	RoundUrgent  = "urgent"  // likewise, in the class for urgent ones
)

// RoundAsked is a board's own word for a round that it asked the host to open: no host
// may use it.
const RoundAsked = "asked"

// Rounds is what waits on the host for somebody to sign it. The newest replaces
// those before it. It travels as a note signed by the host key.
type Rounds struct {
	Origin   string
	HostTime time.Time
	Rounds   []Round // 0..MaxRounds, each rule once
	More     int     // further rules under which something waits
}

// Marshal gives the text to sign, nil if a field has no canonical form.
func (m *Rounds) Marshal() []byte {
	w := canon.NewWriter(RoundsDomain)
	w.Line("origin", m.Origin)
	w.Line("host-time", canon.Time(m.HostTime))
	for _, r := range m.Rounds {
		next := "-"
		if !r.Next.IsZero() {
			next = canon.Time(r.Next)
		}
		w.Line("round", r.Rule, canon.Uint(uint64(max(r.Files, 0))), r.State, canon.Time(r.Since), next)
	}
	w.Line("more", canon.Uint(uint64(max(m.More, 0))))
	return w.Bytes()
}

// ParseRounds reads a rounds text.
func ParseRounds(text []byte) (*Rounds, error) { return whole(text, RoundsDomain, readRounds) }

func readRounds(r *canon.Reader) *Rounds {
	m := &Rounds{Origin: readOrigin(r)}
	m.HostTime = r.Time(r.Line("host-time", 1)[0])
	for r.Peek() == "round" {
		if len(m.Rounds) == MaxRounds {
			r.Failf("more than %d rounds", MaxRounds)
			break
		}
		m.Rounds = append(m.Rounds, readRound(r, m.Rounds))
	}
	m.More = int(readUint(r, "more", MaxCount))
	return m
}

func readRound(r *canon.Reader, before []Round) (one Round) {
	f := r.Line("round", 5)
	one.Rule = checkToken(r, f[0])
	if one.Files = int(r.Uint(f[1], MaxCount)); one.Files == 0 {
		r.Failf("round %s: no file waits", one.Rule)
	}
	if one.State = checkToken(r, f[2]); one.State == RoundAsked {
		r.Failf("round %s: state %s is the board's own word", one.Rule, one.State)
	}
	one.Since = r.Time(f[3])
	if f[4] != "-" {
		one.Next = r.Time(f[4])
	}
	if slices.ContainsFunc(before, func(o Round) bool { return o.Rule == one.Rule }) {
		r.Failf("round %s: twice", one.Rule)
	}
	return one
}

// RoundsNote is a Rounds as it came: the signature is not verified yet.
type RoundsNote struct {
	Note   []byte
	Rounds Rounds // what Note says
}

// Marshal gives the note.
func (m *RoundsNote) Marshal() []byte { return m.Note }

func parseRoundsNote(b []byte) (any, error) {
	text, err := wireNoteText(b)
	if err != nil {
		return nil, err
	}
	r, err := ParseRounds(text)
	if err != nil {
		return nil, err
	}
	return &RoundsNote{Note: b, Rounds: *r}, nil
}

// OpenRound asks the host to open a round of a rule that it announced, because the
// operator of the board wants to sign now. Whoever sits on the cable can forge it:
// it brings requests before the operator and signs nothing.
type OpenRound struct{ Rule string }

// Marshal encodes m, nil if the rule has no canonical form.
func (m *OpenRound) Marshal() []byte {
	w := canon.NewWriter(OpenRoundDomain)
	w.Line("rule", m.Rule)
	return w.Bytes()
}

func readOpenRound(r *canon.Reader) *OpenRound { return &OpenRound{Rule: readToken(r, "rule")} }
