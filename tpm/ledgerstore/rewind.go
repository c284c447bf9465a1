package ledgerstore

import (
	"fmt"
	"slices"

	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/segment"
)

// Rewind forgets the entries from index n on, durably. It is for a mirror,
// whose newest entries are hearsay until a checkpoint covers them; a log with
// plans, the appliance's own, only grows and refuses.
//
// After a crash the store holds at most as many entries as before and at least
// n, less those of the one append that n cuts in two if the disk tears a write
// of nine bytes. After an error it refuses to go on until it is opened again.
func (s *Store) Rewind(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return fmt.Errorf("the log takes nothing back until it is opened again: %w", s.broken)
	case s.totals.Plans > 0:
		return fmt.Errorf("rewind: this log has commits: it only grows")
	case n >= s.totals.Tree.Size():
		return nil
	}
	if err := s.rewind(n); err != nil {
		s.broken = err
		return err
	}
	return nil
}

// rewind drops whole appends. One that n cuts in two is first made the last
// one of the log: then what a crash leaves of it looks torn, and Open drops
// that. The base goes before anything else, because it may say more.
func (s *Store) rewind(n uint64) error {
	s.rewinds++
	if err := s.dropBase(); err != nil {
		return err
	}
	next, err := s.nextAppend(n)
	if err != nil {
		return err
	}
	if next == n {
		return s.keep(n)
	}
	if next < s.totals.Tree.Size() {
		if err := s.keep(next); err != nil {
			return err
		}
	}
	return s.split(n)
}

// nextAppend is the first entry from i on that begins an append, or the size.
func (s *Store) nextAppend(i uint64) (uint64, error) {
	for ; i < s.totals.Tree.Size(); i++ {
		if r, _, err := s.record(i); err != nil || r.First {
			return i, err
		}
	}
	return i, nil
}

// record reads the record of entry i and says where it stands.
func (s *Store) record(i uint64) (r segment.Record, pos int64, err error) {
	if pos, err = s.position(i); err == nil {
		r, err = segment.NewWindow(0).Record(s.log, pos)
	}
	return r, pos, s.checked(err)
}

// position is where entry i begins in the log.
func (s *Store) position(i uint64) (int64, error) {
	positions, err := s.derived.Positions(i, 1)
	return positions[0], s.checked(err)
}

// keep drops everything from entry n on, which begins an append. The derived
// files go first: a hash on disk says that its leaf is durable, so none may
// outlive it. What they lack is made again at Open.
func (s *Store) keep(n uint64) error {
	end, err := s.position(n)
	if err != nil {
		return err
	}
	if err := s.shorten(n); err != nil {
		return err
	}
	return s.cut(end)
}

// shorten makes totals and derived files those of the first n entries.
func (s *Store) shorten(n uint64) error {
	tree, err := s.derived.TreeAt(n)
	if err != nil {
		return s.checked(err)
	}
	t := derived.Totals{Tree: *tree}
	if t.Marks, err = s.derived.Before(derived.Marks, &s.totals, n); err == nil {
		t.Jobs, err = s.derived.Before(derived.Jobs, &s.totals, n)
	}
	if err != nil {
		return s.checked(err)
	}
	if err := s.derived.Cut(&t); err != nil {
		return err
	}
	s.totals = t
	return nil
}

// split keeps of the newest append only the entries before n: the record
// before n becomes its last, in place.
func (s *Store) split(n uint64) error {
	end, err := s.position(n)
	if err != nil {
		return err
	}
	g, err := s.tail(n)
	if err != nil {
		return err
	}
	g.End = end
	if err := s.shorten(n - uint64(len(g.Records))); err != nil {
		return err
	}
	last := g.Records[len(g.Records)-1]
	last.Last = true
	if err := s.log.Amend(last, g.At[len(g.At)-1]); err != nil {
		return err
	}
	if err := s.cut(end); err != nil {
		return err
	}
	return s.derived.Grow(&s.totals, g)
}

// tail reads the entries before n that are in one append with entry n-1.
func (s *Store) tail(n uint64) (*segment.Group, error) {
	g := &segment.Group{}
	for first := n - 1; ; first-- {
		r, pos, err := s.record(first)
		if err != nil {
			return nil, err
		}
		g.Records, g.At = append(g.Records, r), append(g.At, pos)
		if r.First {
			slices.Reverse(g.Records)
			slices.Reverse(g.At)
			return g, nil
		}
	}
}

// cut durably drops everything from a position on.
func (s *Store) cut(end int64) error {
	s.end = end
	return s.log.Cut(end)
}
