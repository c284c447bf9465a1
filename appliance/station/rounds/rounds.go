// Package rounds keeps what the host of this session says waits for somebody to
// sign it. It is shown as the host's words, and nothing depends on it. The
// operator may ask the host to open a round.
package rounds

import (
	"slices"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/line"
	"touchmark/appliance/station/loop"
	"touchmark/hostlink/message"
)

// The ration of announcements: what is on the display changes once a second in
// the long run, and verifying them costs no more, whatever a host sends.
const (
	burst = 4
	every = time.Second
)

// Config is what a board's rounds are made of. Its functions are called in the loop.
type Config struct {
	Loop    loop.Loop
	Line    *line.Line
	Open    func(note []byte) (r *message.Rounds, host string, err error) // checks an announcement
	Refuse  func(error)                                                   // answers that it is none
	Changed func()                                                        // Shown is another
}

// Rounds is what a host says waits.
type Rounds struct {
	cfg    Config
	ration intake.Ration
	latest *message.RoundsNote  // came faster than the ration; a newer one takes its place
	timed  bool                 // a timer will take it up
	newest map[string]time.Time // host-time of the one taken last, by host; outlives sessions
	shown  []operator.Round     // never changed in place: views have it
	more   int
}

// New makes a board's rounds; there are none.
func New(cfg Config) *Rounds {
	return &Rounds{cfg: cfg, ration: intake.NewRation(burst, every, time.Now()), newest: map[string]time.Time{}}
}

// Shown is what the host announced, and how many rounds more there are.
func (r *Rounds) Shown() (shown []operator.Round, more int) { return r.shown, r.more }

// Announced takes an announcement now, or when its turn comes.
func (r *Rounds) Announced(m *message.RoundsNote) {
	r.latest = m
	r.take()
}

func (r *Rounds) take() {
	if r.latest == nil || r.timed {
		return
	}
	if wait := r.ration.Take(time.Now()); wait > 0 {
		r.timed = true
		r.cfg.Loop.After(wait, func() { r.timed = false; r.take() })
		return
	}
	n := r.latest
	r.latest = nil
	m, host, err := r.cfg.Open(n.Note)
	if err == nil && host != r.cfg.Line.Host() {
		err = intake.Refuse(message.CodeHostForbidden, "host %s announces rounds in a session of host %s", host, r.cfg.Line.Host())
	}
	switch {
	case err != nil:
		r.cfg.Refuse(err)
	case m.HostTime.Before(r.newest[host]): // somebody on the cable sends it once more
	default:
		r.newest[host] = m.HostTime
		r.show(roundsOf(m), m.More)
	}
}

func roundsOf(m *message.Rounds) (out []operator.Round) {
	for _, r := range m.Rounds {
		out = append(out, operator.Round{Rule: r.Rule, Files: r.Files, State: r.State, Since: r.Since, Next: r.Next})
	}
	return out
}

func (r *Rounds) show(shown []operator.Round, more int) {
	if slices.Equal(shown, r.shown) && more == r.more {
		return
	}
	r.shown, r.more = shown, more
	r.cfg.Changed()
}

// Forget is for the end of a session: who comes next announces his own.
func (r *Rounds) Forget() { r.latest, r.shown, r.more = nil, nil, 0 }

// Open asks the host to open a round that it announced, once: its next
// announcement says what became of that. Nothing is asked while the board does not
// sign. It answers what the operator is told.
func (r *Rounds) Open(rule string, signs bool) string {
	shown := slices.Clone(r.shown)
	i := slices.IndexFunc(shown, func(r operator.Round) bool { return r.Rule == rule })
	switch {
	case i < 0:
		return "No such round waits."
	case !signs:
		return "The board signs nothing now: no round is opened."
	case shown[i].State == operator.RoundAsked || shown[i].State == message.RoundUrgent:
		return "That round is being opened, or is open as an urgent one."
	}
	m := message.OpenRound{Rule: rule}
	r.cfg.Line.Send(m.Marshal())
	shown[i].State = operator.RoundAsked
	r.show(shown, r.more)
	return "The host was asked to open the round: what waits in it comes on display."
}
