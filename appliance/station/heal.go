package station

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
)

// healing is a halted board that asks a host for the entries that HEAD took
// and this disk does not have. Nothing in them is trusted, and nothing is
// written before they lead to HEAD.
type healing struct {
	session uint64 // of the link; another one begins anew
	head    [32]byte
	missing *recovery.Missing
	next    uint64 // index of the entry that is asked for
	entries [][]byte
	bytes   int
}

const (
	// maxHeal bounds what of a host's entries is held in memory before they
	// lead to HEAD: a disk that is some 10,000 signatures behind.
	maxHeal = 32 << 20
	// maxHealAppend keeps what is appended at once well below what the store
	// takes.
	maxHealAppend = 1 << 20
)

// askMirror asks the host that was just welcomed for what is missing here.
func (s *Station) askMirror() {
	var h *haltError
	s.healing = nil
	if !errors.As(s.halted, &h) || h.halt != recovery.HeadAhead && h.halt != recovery.HeadUnknown {
		return
	}
	tree, err := s.tree()
	if err == nil {
		var m *recovery.Missing
		if m, err = recovery.NewMissing(s.trust, h.observed, tree); err == nil {
			s.healing = &healing{session: s.link.session, head: h.observed.Head, missing: m, next: tree.Size()}
			s.askNext()
			return
		}
	}
	s.log.Error().Err(err).Msg("asking for missing entries")
}

func (s *Station) askNext() {
	f := message.Fetch{From: s.healing.next}
	s.send(chanInteractive, f.Marshal())
}

// tree is that of all entries on this disk.
func (s *Station) tree() (*ledger.Tree, error) {
	size := s.cfg.Store.Size()
	var roots []tlog.Hash
	for rest := size; rest > 0; {
		level := bits.Len64(rest) - 1
		at := (size - rest) >> level
		h, err := s.cfg.Store.Hashes(level, at, 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, h[0])
		rest -= 1 << level
	}
	return ledger.TreeOf(size, roots), nil
}

// offered takes the host's answer.
func (s *Station) offered(m *message.Entries) {
	g := s.healing
	if g == nil || g.session != s.link.session || m.Start != g.next {
		s.refuse(message.JobID{}, message.CodeBadMessage, "nobody asked for these entries")
		return
	}
	found, err := g.take(m.Entries)
	switch {
	case err != nil:
		s.healing = nil
		s.log.Error().Err(err).Str("host", s.link.host).Msg("a mirror's entries are of no use")
		s.refuse(message.JobID{}, message.CodeForkedHead, err.Error())
		s.show("halted", fmt.Sprintf("The mirror of host %s does not help: %v.", s.link.host, err))
	case found:
		s.healing = nil
		s.heal(g)
	case m.Total > g.next:
		s.askNext()
	default:
		s.healing = nil
		s.show("halted", fmt.Sprintf("The mirror of host %s does not lead to where HEAD is.", s.link.host))
	}
}

// take follows entries until they lead to HEAD.
func (g *healing) take(entries [][]byte) (found bool, err error) {
	for _, e := range entries {
		if g.bytes += len(e); g.bytes > maxHeal {
			return false, fmt.Errorf("more than %d bytes are missing: put a copy of the mirror in the place of this log", maxHeal)
		}
		if err := g.missing.Add(e); err != nil {
			return false, err
		}
		g.entries = append(g.entries, e)
		g.next++
		if _, _, err := g.missing.Found(g.head); err == nil {
			return true, nil
		}
	}
	return false, nil
}

// heal writes what HEAD vouches for, and starts again.
func (s *Station) heal(g *healing) {
	err := s.fill(g)
	if err == nil {
		err = s.load()
	}
	if err != nil {
		s.halted = mustHalt(fmt.Errorf("taking entries from a mirror: %w", err))
		s.halt(s.halted)
		return
	}
	s.log.Warn().Uint64("entries", s.cfg.Store.Size()).Str("host", s.link.host).Msg("the end of the log came from a mirror")
	s.halted = nil
	s.startUp(s.cfg.TPMRetry)
}

// fill appends the entries with the plans of their commits.
func (s *Station) fill(g *healing) error {
	_, plans, err := g.missing.Found(g.head)
	if err != nil {
		return err
	}
	rest := g.entries
	for _, p := range plans {
		n := p.Size - s.cfg.Store.Size()
		part := rest[:n]
		rest = rest[n:]
		for size := 0; ; {
			i := 0
			for i < len(part) && size+len(part[i]) <= maxHealAppend {
				size += len(part[i])
				i++
			}
			if i == len(part) {
				break
			}
			if err := s.cfg.Store.Append(part[:i], nil); err != nil {
				return err
			}
			part, size = part[i:], 0
		}
		if err := s.cfg.Store.Append(part, &p); err != nil {
			return err
		}
	}
	return nil
}
