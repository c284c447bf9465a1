package recovery

import (
	"errors"
	"fmt"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// Missing follows the entries that a mirror has behind the end of this disk,
// for a board that halted with HeadAhead. Nothing in them is trusted: they are
// accepted if and only if they recompute to HEAD, and then they are what HEAD
// took, because the last x that HEAD took binds every entry before it.
//
// Where the commits ended is found on the way. All but the newest are named by
// the attest or boot entry that every appliance writes before the next one; the
// newest may end with any triggering entry behind those.
type Missing struct {
	trust *anchor.Trust
	tree  *ledger.Tree
	disk  uint64 // leaves on disk
	at    chain
	found []anchor.Plan // commits beyond the disk that are named and not yet given out
	// resumed gives HEAD before the commit of a resume entry.
	resumed func(e *ledger.Order) ([32]byte, error)
}

// chain follows commits from one that is known.
type chain struct {
	size uint64        // newest commit known
	head [32]byte      // HEAD after it
	open []anchor.Plan // one of these may have come next, oldest first
}

// NewMissing starts behind a disk: o as for Decide, tree that of all its
// entries. A disk without any entry is one that lost the whole log.
func NewMissing(t *anchor.Trust, o Observed, tree *ledger.Tree) (*Missing, error) {
	ak, err := quote.ParseAK(t.AK)
	if err != nil {
		return nil, err
	}
	at, err := chainOf(o)
	if err != nil {
		return nil, err
	}
	resumed := func(e *ledger.Order) ([32]byte, error) {
		hash, err := order.Hash(e.Note)
		if err != nil {
			return hash, err
		}
		facts, err := ak.VerifyNV(e.Certify, t.HeadName, quote.ResumeTag(hash))
		return facts.Contents, err
	}
	return &Missing{trust: t, tree: tree.Clone(), disk: tree.Size(), at: at, resumed: resumed}, nil
}

// chainOf is the chain as far as a disk knows it.
func chainOf(o Observed) (chain, error) {
	c := chain{head: o.Since.Head}
	for _, p := range o.Plans {
		switch {
		case p.Size == o.Attested:
			c = chain{size: p.Size, head: p.Head()}
		case p.Size > o.Attested:
			c.open = append(c.open, p)
		}
	}
	if c.size != o.Attested {
		return c, fmt.Errorf("the disk attests a commit of %d entries, but has no plan of it", o.Attested)
	}
	return c, nil
}

// Add takes the next entry. After an error the mirror's entries are not those
// of this log, and no more is to be had from it.
func (m *Missing) Add(raw []byte) error {
	index := m.tree.Size()
	h, body, err := ledger.Parse(raw)
	if err == nil && h.Index != index {
		err = fmt.Errorf("it says that it is entry %d", h.Index)
	}
	if err == nil {
		err = m.take(ledger.LeafHash(raw), body)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	return nil
}

// take folds a leaf: it may name the commit before, and end one.
func (m *Missing) take(leaf [32]byte, body any) (err error) {
	prev := m.at.head
	switch b := body.(type) {
	case *ledger.Genesis:
		if m.tree.Size() > 0 || leaf != m.trust.Genesis {
			return errors.New("it is not the genesis entry of this log")
		}
		prev = b.Base
	case *ledger.Boot:
		err = m.named(b.Committed)
	case *ledger.Attest:
		err = m.named(b.Size)
	case *ledger.Order:
		if b.Action == ledger.KindResume {
			prev, err = m.resumed(b)
		}
	}
	if err == nil {
		err = m.append(leaf, ledger.EndsCommit(body), prev)
	}
	return err
}

func (m *Missing) append(leaf [32]byte, trigger bool, prev [32]byte) error {
	m.tree.Add(leaf)
	if !trigger {
		return nil
	}
	if len(m.at.open) == maxOpen {
		return fmt.Errorf("more than %d commits that may have come next", maxOpen)
	}
	size := m.tree.Size()
	x := ledger.X(ledger.CheckpointBody(m.trust.Origin, size, m.tree.Root()))
	m.at.open = append(m.at.open, anchor.Plan{Size: size, X: x, Prev: prev})
	return nil
}

// named notes that HEAD took a size, says an entry.
func (m *Missing) named(size uint64) error {
	p, err := m.at.named(size)
	if err == nil && p != nil && p.Size > m.disk {
		m.found = append(m.found, *p)
	}
	return err
}

// named moves on to the commit of a size and answers its plan, nil if that is
// where the chain stands already.
func (c *chain) named(size uint64) (*anchor.Plan, error) {
	if size == c.size && size > 0 {
		return nil, nil
	}
	for i, p := range c.open {
		if p.Size == size {
			*c = chain{size, p.Head(), c.open[i+1:]}
			return &p, nil
		}
	}
	return nil, fmt.Errorf("it names a commit of %d entries, which cannot have come next", size)
}

// ErrNotHead says that entries do not lead to where HEAD stands.
var ErrNotHead = errors.New("the mirror's entries do not lead to HEAD")

// Newest is the newest commit that an entry names: its size, and HEAD after it.
// It may be one of the disk's. Nobody vouches for it but the mirror.
func (m *Missing) Newest() (size uint64, head [32]byte) { return m.at.size, m.at.head }

// Named gives the plans of the commits up to Newest that are beyond the disk and
// were not given before, oldest first, and keeps them no longer.
func (m *Missing) Named() []anchor.Plan {
	plans := m.found
	m.found = nil
	return plans
}

// Found says how many entries lead to HEAD, and the plans of the commits
// beyond the disk that Named has not given, oldest first: each is to be written
// with the entries up to its size. Entries behind the last one are pending, and
// HEAD does not vouch for them. The error is ErrNotHead; more entries may help.
func (m *Missing) Found(head [32]byte) (size uint64, plans []anchor.Plan, err error) {
	if head == m.at.head && m.at.size > m.disk {
		return m.at.size, m.found, nil
	}
	for _, p := range m.at.open {
		if p.Head() == head && p.Size > m.disk {
			return p.Size, append(m.found[:len(m.found):len(m.found)], p), nil
		}
	}
	return 0, nil, ErrNotHead
}
