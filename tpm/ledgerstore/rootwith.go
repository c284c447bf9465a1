package ledgerstore

import "touchmark/tpm/ledger"

// RootWith is the Merkle tree hash that the log would have with these entries
// appended. Nothing is written: whoever appends them needs the root first,
// because the planned commit names it.
func (s *Store) RootWith(entries [][]byte) ([32]byte, error) {
	s.mu.RLock()
	t := s.tree.Clone()
	broken := s.broken
	s.mu.RUnlock()
	for _, e := range entries {
		t.Add(ledger.LeafHash(e))
	}
	return t.Root(), broken
}
