package intake

import (
	"cmp"
	"slices"

	"touchmark/tpm/ledger"
)

// Tally counts refusals by code until the next intent takes the counts into
// the log. Its zero value is empty; it holds no more than the codes there are.
type Tally struct {
	counts map[string]uint64
}

// Add counts one refusal.
func (t *Tally) Add(code string) {
	if t.counts == nil {
		t.counts = map[string]uint64{}
	}
	t.counts[code]++
}

// Sum gives the counts as an intent holds them.
func (t *Tally) Sum() (total uint64, by []ledger.Refused) {
	for code, n := range t.counts {
		total += n
		by = append(by, ledger.Refused{Code: code, Count: n})
	}
	slices.SortFunc(by, func(a, b ledger.Refused) int { return cmp.Compare(a.Code, b.Code) })
	return total, by
}

// Reset begins anew.
func (t *Tally) Reset() { clear(t.counts) }
