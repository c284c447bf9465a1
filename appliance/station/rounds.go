package station

import (
	"slices"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
)

// The ration of announcements: what is on the display changes once a second in
// the long run, and verifying them costs no more, whatever a host sends.
const (
	roundsBurst = 4
	roundsEvery = time.Second
)

// rounds is what the host of this session says waits for somebody to sign it. It
// is shown as the host's words, and nothing depends on it.
type rounds struct {
	ration intake.Ration
	latest *message.RoundsNote  // came faster than the ration; a newer one takes its place
	timed  bool                 // a timer will take it up
	newest map[string]time.Time // host-time of the one taken last, by host; outlives sessions
	shown  []operator.Round     // never changed in place: views have it
	more   int
}

// announced takes an announcement now, or when its turn comes.
func (s *Station) announced(m *message.RoundsNote) {
	s.rounds.latest = m
	s.takeRounds()
}

func (s *Station) takeRounds() {
	r := &s.rounds
	if r.latest == nil || r.timed {
		return
	}
	if wait := r.ration.Take(time.Now()); wait > 0 {
		r.timed = true
		s.after(wait, func() { r.timed = false; s.takeRounds() })
		return
	}
	n := r.latest
	r.latest = nil
	m, host, err := intake.OpenRounds(s.past.Policy, n.Note, s.clock.Now())
	if err == nil && host != s.link.host {
		err = intake.Refuse(message.CodeHostForbidden, "host %s announces rounds in a session of host %s", host, s.link.host)
	}
	switch {
	case err != nil:
		s.refuseFor(message.JobID{}, err)
	case m.HostTime.Before(r.newest[host]): // somebody on the cable sends it once more
	default:
		r.newest[host] = m.HostTime
		s.showRounds(roundsOf(m), m.More)
	}
}

func roundsOf(m *message.Rounds) (out []operator.Round) {
	for _, r := range m.Rounds {
		out = append(out, operator.Round{Rule: r.Rule, Files: r.Files, State: r.State, Since: r.Since, Next: r.Next})
	}
	return out
}

// showRounds changes what the display says of rounds and leaves all else on it as
// it is, the end of the request before too.
func (s *Station) showRounds(shown []operator.Round, more int) {
	if slices.Equal(shown, s.rounds.shown) && more == s.rounds.more {
		return
	}
	s.rounds.shown, s.rounds.more = shown, more
	s.view.Event, s.view.Time = "update", s.clock.Now()
	s.details()
	s.paint()
}

// forgetRounds is for the end of a session: who comes next announces his own.
func (s *Station) forgetRounds() { s.rounds.latest, s.rounds.shown, s.rounds.more = nil, nil, 0 }

// openRound asks the host to open a round that it announced, once: its next
// announcement says what became of that.
func (s *Station) openRound(rule string) {
	shown := slices.Clone(s.rounds.shown)
	i := slices.IndexFunc(shown, func(r operator.Round) bool { return r.Rule == rule })
	switch {
	case i < 0:
		s.say("No such round waits.")
		return
	case s.halted != nil || s.stopping:
		s.say("The board signs nothing now: no round is opened.")
		return
	case shown[i].State == operator.RoundAsked || shown[i].State == message.RoundUrgent:
		s.say("That round is being opened, or is open as an urgent one.")
		return
	}
	m := message.OpenRound{Rule: rule}
	s.send(chanInteractive, m.Marshal())
	shown[i].State = operator.RoundAsked
	s.showRounds(shown, s.rounds.more)
	s.say("The host was asked to open the round: what waits in it comes on display.")
}
