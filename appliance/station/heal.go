package station

import (
	"errors"
	"fmt"

	"touchmark/appliance/station/chain"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
)

// healing is a halted board that asks a host for the entries that HEAD took
// and this disk does not have.
type healing struct {
	*chain.Healing
	session uint64 // of the link; another one begins anew
}

// askMirror asks the host that was just welcomed for what is missing here.
func (s *Station) askMirror() {
	var h *chain.HaltError
	s.healing = nil
	if !errors.As(s.halted, &h) || h.Halt != recovery.HeadAhead && h.Halt != recovery.HeadUnknown {
		return
	}
	g, err := s.chain.Heal(h)
	if err != nil {
		s.log.Error().Err(err).Msg("asking for missing entries")
		return
	}
	s.healing = &healing{g, s.link.session}
	s.askNext()
}

func (s *Station) askNext() {
	f := message.Fetch{From: s.healing.Next}
	s.send(chanInteractive, f.Marshal())
}

// offered takes the host's answer.
func (s *Station) offered(m *message.Entries) {
	g := s.healing
	if g == nil || g.session != s.link.session || m.Start != g.Next {
		s.refuse(message.JobID{}, message.CodeBadMessage, "nobody asked for these entries")
		return
	}
	found, err := g.Take(m.Entries)
	switch {
	case err != nil:
		s.healing = nil
		s.log.Error().Err(err).Str("host", s.link.host).Msg("a mirror's entries are of no use")
		s.refuse(message.JobID{}, message.CodeForkedHead, err.Error())
		s.show("halted", fmt.Sprintf("The mirror of host %s does not help: %v.", s.link.host, err))
	case found:
		s.healing = nil
		s.heal(g)
	case m.Total > g.Next:
		s.askNext()
	default:
		s.healing = nil
		s.show("halted", fmt.Sprintf("The mirror of host %s does not lead to where HEAD is.", s.link.host))
	}
}

// heal writes what HEAD vouches for, and starts again.
func (s *Station) heal(g *healing) {
	err := s.chain.Fill(g.Healing)
	if err == nil {
		err = s.chain.Load(s.now())
	}
	if err != nil {
		s.halted = nil
		s.halt(err)
		return
	}
	s.log.Warn().Uint64("entries", s.cfg.Store.Size()).Str("host", s.link.host).Msg("the end of the log came from a mirror")
	s.halted = nil
	s.startUp(s.cfg.TPMRetry)
}
