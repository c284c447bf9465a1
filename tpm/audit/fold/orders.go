package fold

import (
	"bytes"
	"slices"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Effect folds what an order does that took effect.
func (f *Fold) Effect(w *task.Order) {
	f.note(finding.Info, finding.OrderTaken, w.Index, "the administrators' %s entry %d is in force", w.Kind, w.Index)
	if w.Policy != nil && w.Policy.Recovered {
		f.note(finding.Warning, finding.Recovered, w.Index, "the recovery keys, not the administrators, signed the policy of entry %d, which replaces the administrators: ask those whether they lost their keys", w.Index)
	}
	if w.Order == nil {
		return
	}
	switch act := w.Order.Action.(type) {
	case *order.Time:
		f.note(finding.Warning, finding.TimeCorrected, w.Index, "entry %d set the clock from %s to %s (%s): times before it are not what they say", w.Index, canon.Time(f.last), canon.Time(act.To), w.Order.Reason)
		f.last = act.To
		f.segment = segment{}
	case *order.Image:
		f.images = append(f.images, *act)
	case *order.Close:
		f.closed, f.report.Closed = true, true
		f.report.Successor = report.IDOf(act.Successor)
		f.note(finding.Info, finding.Closed, w.Index, "the log was closed with entry %d (%s)", w.Index, w.Order.Reason)
	}
}

// afterClose judges what stands behind the end of a log.
func (f *Fold) afterClose(t *task.Task) {
	switch t.Body.(type) {
	case *ledger.Attest, *ledger.Boot, *ledger.Update:
		return
	}
	f.note(finding.Evidence, anchor.CodeClosed, t.Index, "entry %d, of kind %s, stands behind the end of the log", t.Index, ledger.KindOf(t.Body))
}

// update folds an update entry, firmware what a boot entry says of itself.
func (f *Fold) update(t *task.Task, b *ledger.Update) {
	if f.firmware != "" && b.From != f.firmware {
		f.note(finding.Evidence, finding.Firmware, t.Index, "entry %d speaks of an update from %s, the boot entry before of %s", t.Index, b.From, f.firmware)
	}
	if b.Image != nil && !slices.ContainsFunc(f.images, func(im order.Image) bool { return im.Version == b.To && bytes.Equal(im.Image[:], b.Image) }) {
		f.note(finding.Evidence, finding.Firmware, t.Index, "entry %d speaks of an update to %s by image %x, which no image order before it names", t.Index, b.To, b.Image)
	}
	f.updated = b.To
}

func (f *Fold) checkFirmware(t *task.Task, b *ledger.Boot) {
	switch {
	case f.firmware == "" || b.Firmware == f.firmware:
	case b.Firmware != f.updated:
		f.note(finding.Evidence, finding.Firmware, t.Index, "firmware %s starts with entry %d after %s, and no update entry says so", b.Firmware, t.Index, f.firmware)
	default:
		f.note(finding.Info, finding.Updated, t.Index, "firmware %s starts with entry %d after %s", b.Firmware, t.Index, f.firmware)
	}
	f.firmware, f.updated = b.Firmware, ""
}
