package ledgerstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"touchmark/tpm/ledgerstore/durable"
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
	case s.totals.plans > 0:
		return fmt.Errorf("rewind: this log has commits: it only grows")
	case n >= s.totals.tree.Size():
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
	if next < s.totals.tree.Size() {
		if err := s.keep(next); err != nil {
			return err
		}
	}
	return s.split(n)
}

// nextAppend is the first entry from i on that begins an append, or the size.
func (s *Store) nextAppend(i uint64) (uint64, error) {
	for ; i < s.totals.tree.Size(); i++ {
		if r, _, err := s.record(i); err != nil || r.first {
			return i, err
		}
	}
	return i, nil
}

// record reads the record of entry i and says where it stands.
func (s *Store) record(i uint64) (r record, pos int64, err error) {
	if pos, err = s.position(i); err != nil {
		return record{}, 0, err
	}
	w := window{size: readOne}
	r, err = w.record(s, pos)
	return r, pos, err
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
	tree, err := s.treeAt(n)
	if err != nil {
		return err
	}
	t := totals{tree: *tree}
	if t.marks, err = s.marksBefore(n); err != nil {
		return err
	}
	for which, size := range t.sizes() {
		if err := truncate(s.derived[which], s.derivedPath(which), size); err != nil {
			return err
		}
	}
	s.totals = t
	return nil
}

// marksBefore counts the marks of the first n entries.
func (s *Store) marksBefore(n uint64) (uint64, error) {
	var b [markSize]byte
	for left := s.totals.marks; left > 0; left-- {
		if err := s.readDerived(marksFile, b[:], int64(left-1)*markSize); err != nil {
			return 0, err
		}
		if binary.BigEndian.Uint64(b[:]) < n {
			return left, nil
		}
	}
	return 0, nil
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
	g.end = end
	if err := s.shorten(n - uint64(len(g.records))); err != nil {
		return err
	}
	last := g.records[len(g.records)-1]
	last.last = true
	seg := s.segments[locate(s.segments, end-1)]
	if _, err := seg.file.WriteAt(appendRecord(nil, last)[:headerSize], g.at[len(g.at)-1]-seg.start); err != nil {
		return durable.Error("write", segmentPath(s.dir, seg.start), err)
	}
	if err := s.cut(end); err != nil {
		return err
	}
	return s.derive(g)
}

// tail reads the entries before n that are in one append with entry n-1.
func (s *Store) tail(n uint64) (*group, error) {
	g := &group{}
	for first := n - 1; ; first-- {
		r, pos, err := s.record(first)
		if err != nil {
			return nil, err
		}
		g.records, g.at = append(g.records, r), append(g.at, pos)
		if r.first {
			slices.Reverse(g.records)
			slices.Reverse(g.at)
			return g, nil
		}
	}
}

// cut drops everything from a position on, the newest segment first.
func (s *Store) cut(end int64) error {
	for last := len(s.segments) - 1; last > 0 && s.segments[last].start >= end; last-- {
		path := segmentPath(s.dir, s.segments[last].start)
		if err := s.segments[last].file.Close(); err != nil {
			return durable.Error("close", path, err)
		}
		s.segments = s.segments[:last]
		if err := s.disk.Remove(path); err != nil {
			return durable.Error("remove", path, err)
		}
		if err := s.disk.SyncDir(s.dir); err != nil {
			return durable.Error("sync", s.dir, err)
		}
	}
	seg := s.segments[len(s.segments)-1]
	s.end = end
	return truncate(seg.file, segmentPath(s.dir, seg.start), end-seg.start)
}

func truncate(f durable.File, path string, size int64) error {
	if err := f.Truncate(size); err != nil {
		return durable.Error("truncate", path, err)
	}
	return durable.Error("sync", path, f.Sync())
}
