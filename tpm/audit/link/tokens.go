package link

import (
	"fmt"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey"
)

// brings is the token's key that an order adds to the log's, nil for none.
func brings(w *task.Order) *ledger.TokenKey {
	if w.Order == nil {
		return nil
	}
	k, ok := w.Order.Action.(*order.Key)
	if !ok {
		return nil
	}
	return k.Token
}

// joins checks a key that an order adds. One that cannot join was not ordered.
func (l *Linker) joins(t *task.Task, w *task.Order) {
	k := brings(w)
	if k == nil {
		return
	}
	if err := l.canJoin(k); err != nil {
		t.Evidence(finding.OrderInvalid, "entry %d: %v", t.Index, err)
		w.Order = nil
		return
	}
	if !t.Token(k, l.TokenRoots) {
		w.Order = nil
	}
}

// recallJoins is joins for an entry that was audited before.
func (l *Linker) recallJoins(w *task.Order) {
	k := brings(w)
	if k == nil {
		return
	}
	if _, err := tokenkey.Attested(k, l.TokenRoots); err != nil || l.canJoin(k) != nil {
		w.Order = nil
	}
}

func (l *Linker) canJoin(k *ledger.TokenKey) error {
	log := make([]tokenkey.Known, len(l.orders.own))
	for i, o := range l.orders.own {
		log[i].Name = o.Name
		if o.Public != nil {
			log[i].Public = o.Public.Public
		}
	}
	_, err := tokenkey.Join(k, log, l.keys.Trust.Emulated, l.keys.Policy)
	return err
}

// join makes a key one of the log's.
func (l *Linker) join(k *ledger.TokenKey, entry uint64) (notes []finding.Remark) {
	cert, err := tokenkey.Certificate(k)
	if err != nil {
		return nil // joins has said so
	}
	own := task.Key{Name: k.Name, Fingerprint: k.Fingerprint, Public: cert.Key, Cert: cert}
	if l.keys.Pinned != nil && l.keys.Pinned.Find(k.Fingerprint) == nil {
		l.keys = l.keys.WithKey(cert)
		notes = append(notes, finding.Of(finding.Warning, finding.TrustOutdated, fmt.Sprintf("administrators added key %q with entry %d, and the trust file does not know it: get its next version", k.Name, entry), nil))
	}
	l.orders.own = append(l.orders.own, own)
	return notes
}
