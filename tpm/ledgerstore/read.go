package ledgerstore

import (
	"fmt"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/segment"
)

// Job is what a start must know of an intent or an outcome.
type Job = derived.Job

// ClassID stands for a policy class in a Job.
type ClassID = derived.ClassID

// ClassOf is the ID of a class.
func ClassOf(name string) ClassID { return derived.ClassOf(name) }

// Mark is where an entry of a kind stands that a start may have to find.
type Mark = derived.Mark

// Entry returns entry i, read from disk and checked against its hash.
func (s *Store) Entry(i uint64) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i >= s.totals.Tree.Size() {
		return nil, fmt.Errorf("entry %d: the log has %d entries", i, s.totals.Tree.Size())
	}
	entries, err := s.chunk(i, 1)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// chunk reads n entries from index from on; callers hold the lock.
func (s *Store) chunk(from uint64, n int) ([][]byte, error) {
	positions, err := s.derived.Positions(from, n)
	if err != nil {
		return nil, s.checked(err)
	}
	hashes, err := s.derived.Leaves(from, n)
	if err != nil {
		return nil, s.checked(err)
	}
	entries := make([][]byte, n)
	w := segment.NewWindow(uint64(positions[n-1] - positions[0]))
	for i, pos := range positions {
		r, err := w.Record(s.log, pos)
		if err != nil {
			return nil, s.checked(err)
		}
		if r.Plan() || ledger.LeafHash(r.Payload) != hashes[i] {
			return nil, s.corrupt(derived.Offsets, from+uint64(i), fmt.Sprintf("entry %d is not there", from+uint64(i)))
		}
		entries[i] = r.Payload
	}
	return entries, nil
}

// corrupt says what is wrong with an item of a derived file.
func (s *Store) corrupt(which derived.File, item uint64, reason string) error {
	return s.checked(s.derived.Corrupt(which, int64(item)*derived.ItemSize[which], reason))
}

// Entries yields entries from..to-1 in order, each checked against its hash.
// An error is the last thing it yields.
func (s *Store) Entries(from, to uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for from < to {
			entries, err := s.several(from, int(min(to-from, chunkEntries)))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			from += uint64(len(entries))
		}
	}
}

// Backward yields the entries before index from, newest first, each checked
// against its hash. An error is the last thing it yields.
func (s *Store) Backward(from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for from > 0 {
			n := min(from, chunkEntries)
			entries, err := s.several(from-n, int(n))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range slices.Backward(entries) {
				if !yield(e, nil) {
					return
				}
			}
			from -= n
		}
	}
}

func (s *Store) several(from uint64, n int) ([][]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("entries up to", from+uint64(n)); err != nil {
		return nil, err
	}
	return s.chunk(from, n)
}

// PlansBackward yields the plans, newest first. An error is the last thing it
// yields.
func (s *Store) PlansBackward() iter.Seq2[anchor.Plan, error] {
	return func(yield func(anchor.Plan, error) bool) {
		below := s.Size() + 1
		s.backward(derived.Plans, func(b []byte, err error) bool {
			if err != nil {
				return yield(anchor.Plan{}, err)
			}
			p := segment.DecodePlan(b)
			if p.Size == 0 || p.Size >= below {
				yield(anchor.Plan{}, s.corrupt(derived.Plans, 0, fmt.Sprintf("a plan of size %d where one below %d should be", p.Size, below)))
				return false
			}
			below = p.Size
			return yield(p, nil)
		})
	}
}

// MarksBackward yields where the entries stand that are no intents, outcomes
// or attestations, newest first. An error is the last thing it yields.
func (s *Store) MarksBackward() iter.Seq2[Mark, error] {
	return func(yield func(Mark, error) bool) {
		below := s.Size()
		s.backward(derived.Marks, func(b []byte, err error) bool {
			if err != nil {
				return yield(Mark{}, err)
			}
			m, ok := derived.DecodeMark(b)
			if !ok || m.Index >= below {
				yield(m, s.corrupt(derived.Marks, 0, fmt.Sprintf("an item for entry %d where one below %d should be", m.Index, below)))
				return false
			}
			below = m.Index
			return yield(m, nil)
		})
	}
}

// Jobs yields what is known of the intents and outcomes from entry index from
// on, in order, without reading them. An error is the last thing it yields.
func (s *Store) Jobs(from uint64) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		s.mu.RLock()
		size, all := s.totals.Tree.Size(), s.totals.Jobs
		i, err := s.derived.Before(derived.Jobs, &s.totals, from)
		s.mu.RUnlock()
		for ; i < all && err == nil; i += chunkJobs {
			b := make([]byte, min(chunkJobs, all-i)*uint64(derived.ItemSize[derived.Jobs]))
			s.mu.RLock()
			err = s.derived.Read(derived.Jobs, b, int64(i)*derived.ItemSize[derived.Jobs])
			s.mu.RUnlock()
			for ; err == nil && len(b) > 0; b = b[derived.ItemSize[derived.Jobs]:] {
				j, ok := derived.DecodeJob(b)
				if !ok || j.Index < from || j.Index >= size {
					err = s.derived.Corrupt(derived.Jobs, 0, fmt.Sprintf("an item for entry %d where one between %d and %d should be", j.Index, from, size))
				} else if from = j.Index + 1; !yield(j, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(Job{}, s.checked(err))
		}
	}
}

// backward goes through a derived file of fixed-size items from its end.
func (s *Store) backward(which derived.File, yield func([]byte, error) bool) {
	s.mu.RLock()
	at, size := s.totals.Sizes()[which], derived.ItemSize[which]
	s.mu.RUnlock()
	for at > 0 {
		n := min(at, chunkItems*size)
		b := make([]byte, n)
		s.mu.RLock()
		err := s.checked(s.derived.Read(which, b, at-n))
		s.mu.RUnlock()
		if err != nil {
			yield(nil, err)
			return
		}
		for i := n - size; i >= 0; i -= size {
			if !yield(b[i:i+size], nil) {
				return
			}
		}
		at -= n
	}
}

// readHashes is tlog.HashReader on the stored hashes; callers hold the lock.
func (s *Store) readHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes, err := s.derived.ReadHashes(indexes)
	return hashes, s.checked(err)
}

// Hashes are the roots of w complete subtrees of 2^level leaves, from the
// n-th on.
func (s *Store) Hashes(level int, n uint64, w int) ([][32]byte, error) {
	indexes := make([]int64, w)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(level, int64(n)+int64(i))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("hashes up to", (n+uint64(w))<<level); err != nil {
		return nil, err
	}
	hashes, err := s.readHashes(indexes)
	return arrays(hashes), err
}

func (s *Store) within(what string, n uint64) error {
	if n > s.totals.Tree.Size() {
		return fmt.Errorf("%s %d: the log has %d entries", what, n, s.totals.Tree.Size())
	}
	return nil
}

// Root is the Merkle tree hash of the first n entries, from O(log n) hashes.
func (s *Store) Root(n uint64) ([32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("root of size", n); err != nil {
		return [32]byte{}, err
	}
	if n == s.totals.Tree.Size() {
		return s.totals.Tree.Root(), nil
	}
	tree, err := s.derived.TreeAt(n)
	if err != nil {
		return [32]byte{}, s.checked(err)
	}
	return tree.Root(), nil
}

// RootWith is the Merkle tree hash that the log would have with these entries
// appended. Nothing is written: whoever appends them needs the root first,
// because the planned commit names it.
func (s *Store) RootWith(entries [][]byte) ([32]byte, error) {
	s.mu.RLock()
	t := s.totals.Tree.Clone()
	broken := s.broken
	s.mu.RUnlock()
	for _, e := range entries {
		t.Add(ledger.LeafHash(e))
	}
	return t.Root(), broken
}

// Inclusion is the audit path of entry i in the tree of the first n entries,
// the leaf's sibling first (RFC 6962 section 2.1.1).
func (s *Store) Inclusion(i, n uint64) ([][32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("inclusion in size", n); err != nil {
		return nil, err
	}
	if i >= n {
		return nil, fmt.Errorf("entry %d is not among the first %d", i, n)
	}
	p, err := tlog.ProveRecord(int64(n), int64(i), tlog.HashReaderFunc(s.readHashes))
	return arrays(p), err
}

// Consistency proves that the first m entries are a prefix of the first n (RFC
// 6962 section 2.1.2).
func (s *Store) Consistency(m, n uint64) ([][32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("consistency with size", n); err != nil {
		return nil, err
	}
	if m < 1 || m > n {
		return nil, fmt.Errorf("size %d is not within 1..%d", m, n)
	}
	p, err := tlog.ProveTree(int64(n), int64(m), tlog.HashReaderFunc(s.readHashes))
	return arrays(p), err
}

func arrays(h []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(h))
	for i := range h {
		out[i] = h[i]
	}
	return out
}
