package ledgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"os"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// window is the part of a segment that was read last.
type window struct {
	size int // bytes to read at a time
	file durable.File
	at   int64 // in file
	b    []byte
}

// record reads and checks the record at a position of the log. Its payload is
// the caller's.
func (w *window) record(s *Store, pos int64) (record, error) {
	i := locate(s.segments, pos)
	if len(s.segments) == 0 {
		return record{}, os.ErrClosed
	}
	seg := s.segments[i]
	at := pos - seg.start
	if at < 0 {
		return record{}, s.suspect(s.derivedPath(offsetsFile), 0, "a position before the log's beginning")
	}
	if w.file == seg.file && at >= w.at && at < w.at+int64(len(w.b)) {
		if r, _, ok := parseRecord(w.b[at-w.at:]); ok {
			return r, nil
		}
	}
	for _, size := range []int{w.size, maxRecord} {
		w.file, w.at, w.b = seg.file, at, make([]byte, size)
		n, err := seg.file.ReadAt(w.b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return record{}, durable.Error("read", segmentPath(s.dir, seg.start), err)
		}
		w.b = w.b[:n]
		if r, _, ok := parseRecord(w.b); ok {
			return r, nil
		}
	}
	return record{}, s.suspect(segmentPath(s.dir, seg.start), at, "a record cannot be read")
}

// position is where entry i begins in the log.
func (s *Store) position(i uint64) (int64, error) {
	var pos [offsetSize]byte
	err := s.readDerived(offsetsFile, pos[:], int64(i)*offsetSize)
	return int64(binary.BigEndian.Uint64(pos[:])), err
}

// Entry returns entry i, read from disk and checked against its hash.
func (s *Store) Entry(i uint64) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i >= s.totals.tree.Size() {
		return nil, fmt.Errorf("entry %d: the log has %d entries", i, s.totals.tree.Size())
	}
	entries, err := s.chunk(i, 1)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// chunk reads n entries from index from on; callers hold the lock.
func (s *Store) chunk(from uint64, n int) ([][]byte, error) {
	offsets := make([]byte, n*offsetSize)
	if err := s.readDerived(offsetsFile, offsets, int64(from)*offsetSize); err != nil {
		return nil, err
	}
	first, last := tlog.StoredHashIndex(0, int64(from)), tlog.StoredHashIndex(0, int64(from)+int64(n)-1)
	hashes := make([]byte, (last-first+1)*tlog.HashSize)
	if err := s.readDerived(hashesFile, hashes, first*tlog.HashSize); err != nil {
		return nil, err
	}
	entries := make([][]byte, n)
	span := binary.BigEndian.Uint64(offsets[len(offsets)-offsetSize:]) - binary.BigEndian.Uint64(offsets)
	w := window{size: int(min(span, readAhead-readOne)) + readOne}
	for i := range entries {
		pos := int64(binary.BigEndian.Uint64(offsets[i*offsetSize:]))
		r, err := w.record(s, pos)
		if err != nil {
			return nil, err
		}
		at := (tlog.StoredHashIndex(0, int64(from)+int64(i)) - first) * tlog.HashSize
		if r.kind != kindEntry || ledger.LeafHash(r.payload) != [32]byte(hashes[at:]) {
			return nil, s.suspect(s.derivedPath(offsetsFile), int64(from+uint64(i))*offsetSize, fmt.Sprintf("entry %d is not there", from+uint64(i)))
		}
		entries[i] = r.payload
	}
	return entries, nil
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
		s.backward(plansFile, planSize, func(b []byte, err error) bool {
			if err != nil {
				return yield(anchor.Plan{}, err)
			}
			p := decodePlan(b)
			if p.Size == 0 || p.Size >= below {
				yield(anchor.Plan{}, s.suspect(s.derivedPath(plansFile), 0, fmt.Sprintf("a plan of size %d where one below %d should be", p.Size, below)))
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
		s.backward(marksFile, markSize, func(b []byte, err error) bool {
			if err != nil {
				return yield(Mark{}, err)
			}
			i, code := binary.BigEndian.Uint64(b), int(b[8])
			if i >= below || code == 0 || code >= len(markKinds) {
				yield(Mark{}, s.suspect(s.derivedPath(marksFile), 0, fmt.Sprintf("entry %d of kind %d where one below %d should be", i, code, below)))
				return false
			}
			below = i
			return yield(Mark{i, markKinds[code]}, nil)
		})
	}
}

// backward goes through a derived file of fixed-size items from its end.
func (s *Store) backward(which int, size int64, yield func([]byte, error) bool) {
	s.mu.RLock()
	at := s.totals.sizes()[which]
	s.mu.RUnlock()
	for at > 0 {
		n := min(at, chunkItems*size)
		b := make([]byte, n)
		s.mu.RLock()
		err := s.readDerived(which, b, at-n)
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
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if err := s.readDerived(hashesFile, out[i][:], x*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// treeAt is the tree of the first n entries, from the stored hashes.
func (s *Store) treeAt(n uint64) (*ledger.Tree, error) {
	var indexes []int64
	for left := n; left > 0; {
		level := bits.Len64(left) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64((n-left)>>level)))
		left &^= 1 << level
	}
	peaks, err := s.readHashes(indexes)
	if err != nil {
		return nil, err
	}
	return ledger.NewTree(n, peaks), nil
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
	if n > s.totals.tree.Size() {
		return fmt.Errorf("%s %d: the log has %d entries", what, n, s.totals.tree.Size())
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
	if n == s.totals.tree.Size() {
		return s.totals.tree.Root(), nil
	}
	tree, err := s.treeAt(n)
	if err != nil {
		return [32]byte{}, err
	}
	return tree.Root(), nil
}

// RootWith is the Merkle tree hash that the log would have with these entries
// appended. Nothing is written: whoever appends them needs the root first,
// because the planned commit names it.
func (s *Store) RootWith(entries [][]byte) ([32]byte, error) {
	s.mu.RLock()
	t := s.totals.tree.Clone()
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
