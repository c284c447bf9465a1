package audit

import (
	"fmt"

	"touchmark/appliance/policy"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// openOrder is an administrative entry of which it is not known yet whether
// HEAD took the commit that ends with it.
type openOrder struct {
	index  uint64
	kind   string
	hash   [32]byte
	policy *policy.Policy // the next one, of a policy entry that verifies
	order  *order.Order   // of any other that verifies
}

// orders follows the administrative entries of a log. The zero value is that
// of a log without any.
type orders struct {
	newest  uint64              // index of the newest that took effect, 0 for none
	taken   map[[32]byte]uint64 // those that verified and took effect, by hash: few, people made each
	waiting *openOrder
	logKey  string // that the newest key entry brought, "" for the genesis'
}

// linkOrder checks an administrative entry against what is in force before it.
func (a *auditor) linkOrder(t *task, b *ledger.Order) {
	w := &openOrder{index: t.index, kind: b.Action}
	if a.orders.waiting != nil {
		a.void(t)
	}
	a.orders.waiting, t.order = w, w
	if b.Previous != a.orders.newest {
		t.evidence(finding.OrderChain, "entry %d says that entry %d is the newest administrative one before it, that is entry %d", t.index, b.Previous, a.orders.newest)
	}
	if !b.Mirrored {
		t.add(finding.Info, finding.Unmirrored, "entry %d was committed without a host that had it: it may be missing from every mirror of that day", t.index)
	}
	if a.keys == nil || a.keys.policy == nil {
		return
	}
	if err := w.open(b, a.keys.policy); err != nil {
		t.evidence(finding.OrderInvalid, "entry %d: %v", t.index, err)
		return
	}
	if w.order != nil {
		a.linkState(t, w.order)
		if r, ok := w.order.Action.(*order.Resume); ok && b.PCR != r.PCR && b.PCR != [32]byte{} {
			t.evidence(finding.OrderInvalid, "entry %d: the PCR is not the one that the administrators saw", t.index)
		}
	}
}

// open verifies the note under the policy in force.
func (w *openOrder) open(b *ledger.Order, p *policy.Policy) (err error) {
	if w.hash, err = order.Hash(b.Note); err != nil {
		return err
	}
	if b.Action == ledger.KindPolicy {
		w.policy, err = p.Successor(b.Note)
		return err
	}
	o, err := order.OpenEntry(b, p.Administrators.Keys, p.Administrators.Quorum)
	if err == nil && o.Origin != p.Origin {
		err = fmt.Errorf("the order is for %s", o.Origin)
	}
	if err == nil {
		w.order = o
	}
	return err
}

// linkState compares the state of the log that the administrators saw.
func (a *auditor) linkState(t *task, o *order.Order) {
	is, known := false, true
	if o.After.Size <= t.index {
		is, known = a.log.Is(o.After.Size, o.After.Root)
	}
	switch {
	case !known:
		t.add(finding.Warning, finding.OrderUnchecked, "entry %d: the administrators saw a size far back, and no published hash tiles tell its root", t.index)
	case !is:
		t.evidence(finding.OrderForked, "entry %d: the administrators ordered it on another history", t.index)
	}
}

// effect makes the waiting order take effect, or void, now that a size is
// known to be committed. t is what made it known; nil for the checkpoint.
func (a *auditor) effect(t *task, size uint64) {
	w := a.orders.waiting
	if w == nil || size <= w.index {
		return
	}
	if size != w.index+1 {
		a.void(t)
		return
	}
	a.orders.waiting, a.orders.newest = nil, w.index
	if t != nil {
		t.effect = w
	} else {
		a.fold.effect(w)
	}
	if w.policy == nil && w.order == nil {
		return // it does not verify; that is a finding already
	}
	if before, ok := a.orders.taken[w.hash]; ok {
		a.remark(t, finding.Of(finding.Evidence, finding.OrderRepeated, fmt.Sprintf("the order in entry %d took effect with entry %d before", w.index, before), []uint64{before, w.index}))
	}
	if a.orders.taken == nil {
		a.orders.taken = map[[32]byte]uint64{}
	}
	a.orders.taken[w.hash] = w.index
	if w.policy != nil {
		a.keys = a.keys.with(w.policy)
		return
	}
	if k, ok := w.order.Action.(*order.Key); ok {
		a.orders.logKey = k.LogKey
	}
}

func (a *auditor) void(t *task) {
	w := a.orders.waiting
	a.orders.waiting = nil
	a.remark(t, finding.Of(finding.Info, finding.OrderVoid, fmt.Sprintf("HEAD did not take the commit that ends with the %s entry %d: it has no effect", w.kind, w.index), []uint64{w.index}))
}

// remark adds a remark to a task, or to what is said when there is none.
func (a *auditor) remark(t *task, r finding.Remark) {
	if t == nil {
		a.fold.say(r)
		return
	}
	t.notes = append(t.notes, r)
}

// checkResume verifies the attestation in a resume entry, over HEAD as the
// administrators saw it.
func (t *task) checkResume(b *ledger.Order) {
	if t.keys == nil || b.Action != ledger.KindResume || t.order == nil || t.order.order == nil {
		return
	}
	nv, err := t.keys.ak.VerifyNV(b.Certify, t.keys.trust.HeadName, quote.ResumeTag(t.order.hash))
	if err != nil {
		t.evidence(finding.Attestation, "entry %d: NV_Certify: %v", t.index, err)
		return
	}
	t.nv = &nv
	if r, ok := t.order.order.Action.(*order.Resume); ok && r.Head != nv.Contents {
		t.evidence(finding.OrderInvalid, "entry %d: HEAD is not where the administrators saw it", t.index)
	}
}

// effect folds what an order does.
func (f *fold) effect(w *openOrder) {
	f.note(finding.Info, finding.OrderTaken, w.index, "the administrators' %s entry %d is in force", w.kind, w.index)
	if w.order == nil {
		return
	}
	switch act := w.order.Action.(type) {
	case *order.Time:
		f.note(finding.Warning, finding.TimeCorrected, w.index, "entry %d set the clock from %s to %s (%s): times before it are not what they say", w.index, clock(f.last), clock(act.To), w.order.Reason)
		f.last = act.To
		f.segment = segment{}
	case *order.Close:
		f.closed, f.report.Closed = true, true
		f.report.Successor = logID(act.Successor)
		f.note(finding.Info, finding.Closed, w.index, "the log was closed with entry %d (%s)", w.index, w.order.Reason)
	}
}

// afterClose judges what stands behind the end of a log.
func (f *fold) afterClose(t *task) {
	switch t.body.(type) {
	case *ledger.Attest, *ledger.Boot, *ledger.Update:
		return
	}
	f.note(finding.Evidence, anchor.CodeClosed, t.index, "entry %d, of kind %s, stands behind the end of the log", t.index, ledger.KindOf(t.body))
}

// update folds an update entry, firmware what a boot entry says of itself.
func (f *fold) update(t *task, b *ledger.Update) {
	if f.firmware != "" && b.From != f.firmware {
		f.note(finding.Evidence, finding.Firmware, t.index, "entry %d speaks of an update from %s, the boot entry before of %s", t.index, b.From, f.firmware)
	}
	f.updated = b.To
}

func (f *fold) checkFirmware(t *task, b *ledger.Boot) {
	switch {
	case f.firmware == "" || b.Firmware == f.firmware:
	case b.Firmware != f.updated:
		f.note(finding.Evidence, finding.Firmware, t.index, "firmware %s starts with entry %d after %s, and no update entry says so", b.Firmware, t.index, f.firmware)
	default:
		f.note(finding.Info, finding.Updated, t.index, "firmware %s starts with entry %d after %s", b.Firmware, t.index, f.firmware)
	}
	f.firmware, f.updated = b.Firmware, ""
}
