package chain

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
)

const (
	// maxHeal bounds what of a host's entries is held in memory before they
	// lead to HEAD: a disk that is some 10,000 signatures behind.
	maxHeal = 32 << 20
	// maxHealAppend keeps what is appended at once well below what the store
	// takes.
	maxHealAppend = 1 << 20
)

// Healing collects the entries that HEAD took and this disk does not have.
// Nothing in them is trusted, and nothing is written before they lead to HEAD.
type Healing struct {
	Next uint64 // index of the entry that is missing next

	head    [32]byte
	missing *recovery.Missing
	entries [][]byte
	bytes   int
}

// Heal begins to collect what a halted board lacks.
func (c *Chain) Heal(h *HaltError) (*Healing, error) {
	tree, err := c.tree()
	if err != nil {
		return nil, err
	}
	m, err := recovery.NewMissing(c.Past.Trust, h.Observed, tree)
	if err != nil {
		return nil, err
	}
	return &Healing{head: h.Observed.Head, missing: m, Next: tree.Size()}, nil
}

// tree is that of all entries on this disk.
func (c *Chain) tree() (*ledger.Tree, error) {
	size := c.cfg.Store.Size()
	var roots []tlog.Hash
	for rest := size; rest > 0; {
		level := bits.Len64(rest) - 1
		at := (size - rest) >> level
		h, err := c.cfg.Store.Hashes(level, at, 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, h[0])
		rest -= 1 << level
	}
	return ledger.TreeOf(size, roots), nil
}

// Take follows entries until they lead to HEAD.
func (g *Healing) Take(entries [][]byte) (found bool, err error) {
	for _, e := range entries {
		if g.bytes += len(e); g.bytes > maxHeal {
			return false, fmt.Errorf("more than %d bytes are missing: put a copy of the mirror in the place of this log", maxHeal)
		}
		if err := g.missing.Add(e); err != nil {
			return false, err
		}
		g.entries = append(g.entries, e)
		g.Next++
		if _, _, err := g.missing.Found(g.head); err == nil {
			return true, nil
		}
	}
	return false, nil
}

// Fill appends what was found, with the plans of its commits. The log is to be
// loaded again after it.
func (c *Chain) Fill(g *Healing) error {
	_, plans, err := g.missing.Found(g.head)
	if err != nil {
		return err
	}
	rest := g.entries
	for _, p := range plans {
		n := p.Size - c.cfg.Store.Size()
		if err := c.fill(rest[:n], p); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// fill appends the entries of one commit, the last of them with its plan.
func (c *Chain) fill(part [][]byte, p anchor.Plan) error {
	for {
		size, i := 0, 0
		for i < len(part) && size+len(part[i]) <= maxHealAppend {
			size += len(part[i])
			i++
		}
		if i == len(part) {
			return c.cfg.Store.Append(part, &p)
		}
		if err := c.cfg.Store.Append(part[:i], nil); err != nil {
			return err
		}
		part = part[i:]
	}
}
