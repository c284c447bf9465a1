package ledgerstore

import (
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Entries yields entries from..to-1, each read from disk and checked. An
// error is the last thing it yields.
func (s *Store) Entries(from, to uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := from; i < to; i++ {
			e, err := s.Entry(i)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
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
	hashes, err := s.readHashes(indexes)
	return arrays(hashes), err
}
