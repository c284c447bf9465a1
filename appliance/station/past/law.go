package past

import (
	"fmt"
	"slices"

	"touchmark/appliance/policy"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Law is what the administrators' entries amount to.
type Law struct {
	Policy *policy.Policy    // in force
	LogKey string            // a verifier key
	Closed bool              // nothing is signed with this log any more
	Done   map[[32]byte]bool // orders that took effect, by order.Hash
}

// Obey makes what the administrators ordered, and HEAD took, the law: policy,
// log key, end of the log.
func (p *Past) Obey() error {
	l := Law{Policy: p.first, LogKey: p.Trust.LogKey, Done: map[[32]byte]bool{}}
	var orders []*ledger.Order
	for i := p.Admin; i > 0; {
		o, _, err := p.orderAt(i)
		if err == nil && o.Previous >= i {
			err = Damaged(i, fmt.Errorf("it names entry %d as the one before", o.Previous))
		}
		if err != nil {
			return err
		}
		orders = append(orders, o)
		i = o.Previous
	}
	for _, o := range slices.Backward(orders) {
		if err := l.add(o); err != nil {
			return fmt.Errorf("the administrators' entries do not follow from each other: %w", err)
		}
	}
	p.Law = l
	return nil
}

// InForce is what is pinned, with the log key in force as the one that signs.
func (p *Past) InForce() anchor.Trust {
	t := *p.Trust
	t.LogKey = p.LogKey
	return t
}

// add takes the next entry that took effect.
func (l *Law) add(e *ledger.Order) error {
	hash, err := order.Hash(e.Note)
	if err != nil {
		return err
	}
	l.Done[hash] = true
	if e.Action == ledger.KindPolicy {
		l.Policy, err = l.Policy.Successor(e.Note)
		return err
	}
	o, err := order.OpenEntry(e, l.Policy.Administrators.Keys, l.Policy.Administrators.Quorum)
	if err != nil {
		return err
	}
	switch a := o.Action.(type) {
	case *order.Close:
		l.Closed = true
	case *order.Key:
		l.LogKey = a.LogKey
	}
	return nil
}
