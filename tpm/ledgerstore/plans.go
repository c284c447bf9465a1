package ledgerstore

import (
	"sort"

	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/segment"
)

// PlansBehind counts the plans of commits of more than n entries, in O(log n).
func (s *Store) PlansBehind(n uint64) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	size := derived.ItemSize[derived.Plans]
	count := int(s.totals.Sizes()[derived.Plans] / size)
	var failed error
	b := make([]byte, size)
	first := sort.Search(count, func(i int) bool {
		if failed == nil {
			failed = s.checked(s.derived.Read(derived.Plans, b, int64(i)*size))
		}
		return failed != nil || segment.DecodePlan(b).Size > n
	})
	return uint64(count - first), failed
}
