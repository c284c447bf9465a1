package ledgerstore

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
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
	case s.plans > 0:
		return fmt.Errorf("rewind: this log has commits: it only grows")
	case n >= s.tree.Size():
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
// that.
func (s *Store) rewind(n uint64) error {
	next, err := s.nextAppend(n)
	if err != nil {
		return err
	}
	if next == n {
		return s.keep(n)
	}
	if next < s.tree.Size() {
		if err := s.keep(next); err != nil {
			return err
		}
	}
	return s.split(n)
}

// nextAppend is the first entry from i on that begins an append, or the size.
func (s *Store) nextAppend(i uint64) (uint64, error) {
	for ; i < s.tree.Size(); i++ {
		if r, _, _, err := s.record(i); err != nil || r.first {
			return i, err
		}
	}
	return i, nil
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

// shorten makes tree and derived files those of the first n entries.
func (s *Store) shorten(n uint64) error {
	tree, err := s.treeAt(n)
	if err != nil {
		return err
	}
	for which, size := range [2]int64{hashesFile: tlog.StoredHashCount(int64(n)) * tlog.HashSize, offsetsFile: int64(n) * 8} {
		if err := s.truncate(s.derived[which], derivedNames[which], size); err != nil {
			return err
		}
	}
	s.tree = *tree
	return nil
}

// split keeps of the newest append only the entries before n: the record
// before n becomes its last, in place.
func (s *Store) split(n uint64) error {
	end, err := s.position(n)
	if err != nil {
		return err
	}
	last, seg, at, err := s.record(n - 1)
	if err != nil {
		return err
	}
	kept, offsets, err := s.tail(n)
	if err != nil {
		return err
	}
	if err := s.shorten(n - uint64(len(kept))); err != nil {
		return err
	}
	last.last = true
	path := segmentPath(s.dir, seg.start)
	if _, err := seg.file.WriteAt(appendRecord(nil, last)[:headerSize], at); err != nil {
		return diskErr("write", path, err)
	}
	if err := s.cut(end); err != nil {
		return err
	}
	return s.derive(kept, offsets, nil)
}

// tail reads the entries before n that are in one append with entry n-1.
func (s *Store) tail(n uint64) (kept [][]byte, offsets []int64, err error) {
	for first := n - 1; ; first-- {
		r, seg, at, err := s.record(first)
		if err != nil {
			return nil, nil, err
		}
		kept, offsets = append(kept, r.payload), append(offsets, seg.start+at)
		if r.first {
			slices.Reverse(kept)
			slices.Reverse(offsets)
			return kept, offsets, nil
		}
	}
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
	return ledger.NewTree(n, peaks), err
}

// position is where entry i begins in the log.
func (s *Store) position(i uint64) (int64, error) {
	var pos [8]byte
	err := s.readDerived(offsetsFile, pos[:], int64(i)*8)
	return int64(binary.BigEndian.Uint64(pos[:])), err
}

// record reads the record of entry i and says where it stands.
func (s *Store) record(i uint64) (r record, seg segment, at int64, err error) {
	pos, err := s.position(i)
	if err != nil {
		return record{}, segment{}, 0, err
	}
	seg, at = s.locate(pos)
	r, err = s.recordAt(seg, at)
	return r, seg, at, err
}

// cut drops everything from a position on, the newest segment first.
func (s *Store) cut(end int64) error {
	for last := len(s.segments) - 1; last > 0 && s.segments[last].start >= end; last-- {
		path := segmentPath(s.dir, s.segments[last].start)
		if err := s.segments[last].file.Close(); err != nil {
			return diskErr("close", path, err)
		}
		s.segments = s.segments[:last]
		if err := s.disk.Remove(path); err != nil {
			return diskErr("remove", path, err)
		}
		if err := s.disk.SyncDir(s.dir); err != nil {
			return diskErr("sync", s.dir, err)
		}
	}
	seg := s.segments[len(s.segments)-1]
	s.end = end
	return s.truncate(seg.file, segmentPath(s.dir, seg.start), end-seg.start)
}

func (s *Store) truncate(f file, path string, size int64) error {
	if err := f.Truncate(size); err != nil {
		return diskErr("truncate", path, err)
	}
	return diskErr("sync", path, f.Sync())
}
