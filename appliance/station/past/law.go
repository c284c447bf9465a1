package past

import (
	"errors"
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
	Image  *order.Image      // newest image that was ordered, nil if none was; ImageOrder is its order's hash

	ImageOrder [32]byte

	// Keys are the log's. Another law has another list: who has one may read it.
	Keys []Key
}

// Obey makes what the administrators ordered, and HEAD took, the law: policy,
// log key, certificates, end of the log.
func (p *Past) Obey() error {
	l := Law{Policy: p.first, LogKey: p.Trust.LogKey, Done: map[[32]byte]bool{}, Keys: slices.Clone(p.keys)}
	var orders []effective
	for i := p.Admin; i > 0; {
		o, h, err := p.orderAt(i)
		if err == nil && o.Previous >= i {
			err = Damaged(i, fmt.Errorf("it names entry %d as the one before", o.Previous))
		}
		if err != nil {
			return err
		}
		orders = append(orders, effective{h, o})
		i = o.Previous
	}
	for _, o := range slices.Backward(orders) {
		parsed, err := l.add(o.entry)
		if err == nil {
			err = p.follow(&l, o, parsed)
		}
		if err != nil {
			return fmt.Errorf("the administrators' entries do not follow from each other: %w", err)
		}
	}
	p.Law = l
	return nil
}

// effective is an administrative entry that HEAD took.
type effective struct {
	header ledger.Header
	entry  *ledger.Order
}

// follow takes up what an order does to the log's keys.
func (p *Past) follow(l *Law, e effective, o *order.Order) error {
	if e.entry.Action == ledger.KindCert {
		return p.certify(l, e, o)
	}
	if k, ok := brings(o); ok {
		return p.Join(l, k)
	}
	return nil
}

// certify takes up what the token signed by a cert order, if it did.
func (p *Past) certify(l *Law, e effective, o *order.Order) error {
	sig, err := p.certification(e.header.Index)
	if sig == nil || err != nil {
		return err
	}
	hash, err := order.Hash(e.entry.Note)
	if err != nil {
		return err
	}
	x, err := o.Certification(e.header.Time, hash)
	if err != nil {
		return err
	}
	k := l.Named(o.Action.(*order.Cert).Key)
	if k == nil {
		return fmt.Errorf("entry %d is about a key that the log does not have", e.header.Index)
	}
	k.Cert, err = k.Cert.With(x, sig)
	return err
}

// certification is the signature packet in the outcome of a cert entry, nil if
// there is none. A start gives each its outcome before the boot entry, and
// nothing else is committed sooner.
func (p *Past) certification(index uint64) ([]byte, error) {
	for raw, err := range p.cfg.Store.Entries(index+1, p.cfg.Store.Size()) {
		var body any
		if err == nil {
			_, body, err = ledger.Parse(raw)
		}
		if err != nil {
			return nil, err
		}
		switch b := body.(type) {
		case *ledger.Outcome:
			if b.Intent != index || len(b.Items) != 1 {
				return nil, Damaged(index, errors.New("the outcome behind it is not its own"))
			}
			return b.Items[0].Signature, nil
		case *ledger.Attest:
		default:
			return nil, Damaged(index, errors.New("no outcome follows it"))
		}
	}
	return nil, nil
}

// InForce is what is pinned, with the log key in force as the one that signs.
func (p *Past) InForce() anchor.Trust {
	t := *p.Trust
	t.LogKey = p.LogKey
	return t
}

// add takes the next entry that took effect.
func (l *Law) add(e *ledger.Order) (*order.Order, error) {
	hash, err := order.Hash(e.Note)
	if err != nil {
		return nil, err
	}
	l.Done[hash] = true
	if e.Action == ledger.KindPolicy {
		l.Policy, err = l.Policy.Successor(e.Note)
		return nil, err
	}
	o, err := order.OpenEntry(e, l.Policy.Administrators.Keys, l.Policy.Administrators.Quorum)
	if err != nil {
		return nil, err
	}
	switch a := o.Action.(type) {
	case *order.Close:
		l.Closed = true
	case *order.Image:
		l.Image, l.ImageOrder = a, hash
	case *order.Key:
		if a.Token == nil {
			l.LogKey = a.LogKey
		}
	}
	return o, nil
}

// brings is the token's key that an order brings, if it is one that does.
func brings(o *order.Order) (*ledger.TokenKey, bool) {
	if o == nil { // a policy
		return nil, false
	}
	k, ok := o.Action.(*order.Key)
	if !ok || k.Token == nil {
		return nil, false
	}
	return k.Token, true
}
