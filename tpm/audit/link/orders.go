package link

import (
	"fmt"
	"slices"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// orders follows the administrative entries of a log. The zero value is that
// of a log without any.
type orders struct {
	newest  uint64              // index of the newest that took effect, 0 for none
	taken   map[[32]byte]uint64 // those that verified and took effect, by hash: few, people made each
	waiting *task.Order         // the one of which it is not known yet whether HEAD took it
	logKey  string              // that the newest key entry brought, "" for the genesis'
	own     []task.Key          // the log's, with the certificates in force
}

// order checks an administrative entry against what is in force before it.
func (l *Linker) order(t *task.Task, b *ledger.Order) {
	w := task.NewOrder(t.Index, b)
	if l.orders.waiting != nil {
		t.Notes = append(t.Notes, l.void())
	}
	l.orders.waiting, t.Order = w, w
	if b.Previous != l.orders.newest {
		t.Evidence(finding.OrderChain, "entry %d says that entry %d is the newest administrative one before it, that is entry %d", t.Index, b.Previous, l.orders.newest)
	}
	if !b.Mirrored {
		t.Add(finding.Info, finding.Unmirrored, "entry %d was committed without a host that had it: it may be missing from every mirror of that day", t.Index)
	}
	l.ordered(t, b, w)
	if b.Action == ledger.KindCert {
		l.cert(t, b, w)
	}
}

// ordered checks the note of an administrative entry.
func (l *Linker) ordered(t *task.Task, b *ledger.Order, w *task.Order) {
	if l.keys == nil || l.keys.Policy == nil {
		return
	}
	if err := w.Open(b, l.keys.Policy); err != nil {
		t.Evidence(finding.OrderInvalid, "entry %d: %v", t.Index, err)
		return
	}
	if w.Order != nil {
		l.seen(t, w.Order)
		if r, ok := w.Order.Action.(*order.Resume); ok && b.PCR != r.PCR && b.PCR != [32]byte{} {
			t.Evidence(finding.OrderInvalid, "entry %d: the PCR is not the one that the administrators saw", t.Index)
		}
		l.joins(t, w)
	}
}

// seen compares the state of the log that the administrators saw.
func (l *Linker) seen(t *task.Task, o *order.Order) {
	is, known := false, true
	if o.After.Size <= t.Index {
		is, known = l.Log.Is(o.After.Size, o.After.Root)
	}
	switch {
	case !known:
		t.Add(finding.Warning, finding.OrderUnchecked, "entry %d: the administrators saw a size far back, and no published hash tiles tell its root", t.Index)
	case !is:
		t.Evidence(finding.OrderForked, "entry %d: the administrators ordered it on another history", t.Index)
	case !l.Log.Own(o.After.Size, o.After.Root):
		t.Claimed = append(t.Claimed, finding.Of(finding.Evidence, finding.OrderForked, fmt.Sprintf("entry %d: the administrators ordered it on the history of the published leaf hashes, which is another", t.Index), []uint64{t.Index}))
	}
}

// Commit notes that a size was committed. It returns the order that took
// effect with it, nil for none, and what there is to say.
func (l *Linker) Commit(size uint64) (*task.Order, []finding.Remark) {
	l.Log.Commit(size)
	w := l.orders.waiting
	if w == nil || size <= w.Index {
		return nil, nil
	}
	if size != w.Index+1 {
		return nil, []finding.Remark{l.void()}
	}
	l.orders.waiting, l.orders.newest = nil, w.Index
	if !w.Verifies() {
		return w, nil // it does not verify; that is a finding already
	}
	return w, l.inForce(w)
}

// inForce makes an order count.
func (l *Linker) inForce(w *task.Order) (notes []finding.Remark) {
	if before, ok := l.orders.taken[*w.Hash]; ok {
		notes = append(notes, finding.Of(finding.Evidence, finding.OrderRepeated, fmt.Sprintf("the order in entry %d took effect with entry %d before", w.Index, before), []uint64{before, w.Index}))
	}
	if l.orders.taken == nil {
		l.orders.taken = map[[32]byte]uint64{}
	}
	l.orders.taken[*w.Hash] = w.Index
	if w.Policy != nil {
		l.keys = l.keys.With(w.Policy)
		return notes
	}
	if k, ok := w.Order.Action.(*order.Key); ok && k.Token != nil {
		notes = append(notes, l.join(k.Token, w.Index)...)
	} else if ok {
		l.orders.logKey = k.LogKey
	}
	return notes
}

func (l *Linker) void() finding.Remark {
	w := l.orders.waiting
	l.orders.waiting = nil
	return finding.Of(finding.Info, finding.OrderVoid, fmt.Sprintf("HEAD did not take the commit that ends with the %s entry %d: it has no effect", w.Kind, w.Index), []uint64{w.Index})
}

// Waiting is the administrative entry of which the log does not tell yet
// whether HEAD took it, nil for none.
func (l *Linker) Waiting() *task.Order { return l.orders.waiting }

// LogKeyAt is the log key that signs checkpoints of this size, the newest one
// that the log tells of, "" if entry 0 is none; replaced says that it is not
// the first.
func (l *Linker) LogKeyAt(size uint64) (key string, replaced bool) {
	if w := l.orders.waiting; w != nil && w.Index+1 == size && w.Order != nil {
		if k, ok := w.Order.Action.(*order.Key); ok && k.Token == nil {
			return k.LogKey, true
		}
	}
	switch {
	case l.orders.logKey != "":
		return l.orders.logKey, true
	case l.keys != nil:
		return l.keys.LogKey, false
	}
	return "", false
}

// Recall takes the keys from the genesis entry, and takes up what administrators
// ordered before the start of an audit. It returns the genesis entry.
func (l *Linker) Recall(start *incremental.Start) *task.Task {
	t := &task.Task{Raw: start.Genesis}
	t.Read()
	l.keys = t.RecallGenesis(l.Trust, l.AK).With(start.Policy)
	l.orders = orders{newest: start.Boot.Admin, own: slices.Clone(l.keys.Own)}
	for _, o := range start.Orders {
		l.recallJoins(o.Order)
		if o.Verifies() {
			l.inForce(o.Order)
			l.orders.recallCert(o)
		}
	}
	return t
}
