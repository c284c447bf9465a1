package station

import (
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/healing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
)

// mending is a halted board that asks a host for the entries that HEAD took
// and this disk does not have. It outlives sessions: the same host goes on where
// it was.
type mending struct {
	*healing.Healing
	host     string
	session  uint64    // of the link, that was asked in
	promised uint64    // entries that the host said it has
	told     time.Time // when the display was
}

// healEvery is how often the display says how far it is.
const healEvery = time.Second

// askMirror asks the host that was just welcomed for what is missing here.
func (s *Station) askMirror() {
	var h *fault.HaltError
	g := s.healing
	if !errors.As(s.halted, &h) || h.Halt != recovery.HeadAhead && h.Halt != recovery.HeadUnknown {
		s.healing = nil
		return
	}
	switch {
	case g == nil || !g.For(h) || g.host != s.line.Host():
		if g != nil && g.Filled() {
			s.endHealing(nil)
			return
		}
		n, err := healing.Begin(s.cfg.Store, s.past.Trust, h)
		if err != nil {
			s.log.Error().Err(err).Msg("asking for missing entries")
			return
		}
		s.healing = &mending{Healing: n, host: s.line.Host()}
	case g.session == s.line.Session() && g.promised >= h.Observed.Mirror:
		return // it was asked and had nothing else to offer, or its answer is on its way
	}
	s.healing.session, s.healing.promised = s.line.Session(), h.Observed.Mirror
	s.askNext()
}

func (s *Station) askNext() {
	f := message.Fetch{From: s.healing.Next}
	s.line.Send(f.Marshal())
}

// offered takes the host's answer.
func (s *Station) offered(m *message.Entries) {
	g := s.healing
	if g == nil || g.session != s.line.Session() || m.Start != g.Next {
		s.refuse(message.JobID{}, message.CodeBadMessage, "nobody asked for these entries")
		return
	}
	whole, err := g.Take(m.Entries)
	var h *fault.HaltError
	switch {
	case errors.As(err, &h):
		s.healing, s.halted = nil, nil
		s.halt(h)
	case err != nil:
		s.log.Error().Err(err).Str("host", s.line.Host()).Msg("a mirror's entries are of no use")
		s.refuse(message.JobID{}, message.CodeForkedHead, err.Error())
		s.unhelpful(fmt.Sprintf("does not help: %v", err))
	case whole:
		s.log.Warn().Uint64("entries", s.cfg.Store.Size()).Str("host", s.line.Host()).Msg("the end of the log came from a mirror")
		s.endHealing(nil)
	case m.Total > g.Next:
		s.tellHealing(m.Total)
		s.askNext()
	default:
		s.unhelpful("does not lead to where HEAD is")
	}
}

// unhelpful is the end of a mirror that does not give what is missing.
func (s *Station) unhelpful(why string) {
	text := fmt.Sprintf("The mirror of host %s %s.", s.line.Host(), why)
	if s.healing.Filled() {
		s.endHealing(&text)
		return
	}
	s.healing = nil
	s.show("halted", text)
}

// endHealing starts again with what the log is now: whole, or with less missing
// than before.
func (s *Station) endHealing(text *string) {
	s.healing = nil
	err := s.loadDisk()
	s.halted = nil
	if err != nil {
		s.halt(err)
		return
	}
	s.startUp(s.cfg.TPMRetry)
	if text != nil && s.halted != nil {
		s.show("halted", *text)
	}
}

// tellHealing says on the display how far it is.
func (s *Station) tellHealing(total uint64) {
	g := s.healing
	now := time.Now()
	if now.Sub(g.told) < healEvery {
		return
	}
	g.told = now
	what := "Looking through"
	if g.Filling() {
		what = "Taking entries from"
	}
	s.say(fmt.Sprintf("%s the mirror of host %s: entry %d of %d.", what, g.host, g.Next, total))
}

// fitsHealing keeps orders from a log that is being filled: what the board knows
// of it is outdated meanwhile.
func (s *Station) fitsHealing() error {
	if g := s.healing; g != nil && g.Filled() {
		return intake.Refuse(message.CodeBusy, "the log is being taken from the mirror of host %s: wait until that has ended, or start again", g.host)
	}
	return nil
}
