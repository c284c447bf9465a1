package task

import (
	"fmt"

	"touchmark/appliance/policy"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Order is an administrative entry.
type Order struct {
	Index  uint64
	Kind   string
	Hash   *[32]byte      // of its text, nil if the note is none
	Policy *policy.Policy // the next one, of a policy entry that verifies
	Order  *order.Order   // of any other that verifies
}

// NewOrder is that of an entry of this index, its note not yet opened.
func NewOrder(index uint64, b *ledger.Order) *Order {
	w := &Order{Index: index, Kind: b.Action}
	if hash, err := order.Hash(b.Note); err == nil {
		w.Hash = &hash
	}
	return w
}

// Open verifies the note under the policy in force before the entry.
func (w *Order) Open(b *ledger.Order, p *policy.Policy) (err error) {
	if b.Action == ledger.KindPolicy {
		w.Policy, err = p.Successor(b.Note)
		return err
	}
	o, err := order.OpenEntry(b, p.Administrators.Keys, p.Administrators.Quorum)
	if err == nil && o.Origin != p.Origin {
		err = fmt.Errorf("the order is for %s", o.Origin)
	}
	if err == nil {
		w.Order = o
	}
	return err
}

// Verifies reports whether the note was opened: without, an entry changes
// nothing.
func (w *Order) Verifies() bool { return w.Policy != nil || w.Order != nil }
