package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// A board that answers when it has made a commit of which the copy does not tell
// yet: the answer is in its place, and stays there when the log goes on.
func TestAnswerAheadOfTheCopy(t *testing.T) {
	triggers := map[string]func(w *world){
		"intent": func(w *world) { w.newJob(1).record() },
		"note":   func(w *world) { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))) },
		"close":  func(w *world) { w.add(w.entry(ledger.KindClose, w.orderNote(&order.Close{}))) },
	}
	stops := map[string]func(w *world){
		"taken":              func(w *world) { w.tpm.ExtendPCR(w.x) },
		"taken, reset":       func(w *world) { w.tpm.PowerCycle() },
		"taken, reset in it": func(w *world) { w.tpm.PowerCycle(); w.tpm.ExtendPCR(w.x) },
	}
	for trigger, add := range triggers {
		for stop, then := range stops {
			t.Run(trigger+", "+stop, func(t *testing.T) {
				w := started(t)
				w.pass(time.Minute)
				add(w)
				w.commitHead()
				then(w)
				in := w.input()
				in.Dialogue = answeredLater(t, w)
				isFresh(t, in)
				w.settle(trigger != "intent")
				later := w.input()
				later.Dialogue = in.Dialogue
				isFresh(t, later)
			})
		}
	}
}

// settle is the start of a board that stopped before its attest entry.
func (w *world) settle(ordered bool) {
	w.t.Helper()
	if w.tpm.PCR != anchor.Extend([32]byte{}, w.x) && w.tpm.PCR != [32]byte{} {
		w.tpm.PowerCycle()
	}
	if ordered {
		w.newest = w.committed - 1
	}
	a := &ledger.Attest{Size: w.committed, Certify: w.goodCertify()}
	w.publish(a.Certify)
	w.add(a)
	w.boot()
}

func isFresh(t *testing.T, in Input) {
	t.Helper()
	if r := audited(t, in); len(codes(r, finding.Evidence)) > 0 || !slices.Contains(codes(r, finding.Info), finding.FreshAt) {
		t.Errorf("%+v", r.Findings)
	}
}

// What is no commit that the log's end leads to is evidence as before.
func TestAnswerOfNoCommitAtTheEnd(t *testing.T) {
	w := started(t)
	w.pass(time.Minute)
	w.newJob(1).record()
	w.commitHead()
	w.tpm.ExtendHead([32]byte{1})
	in := w.input()
	in.Dialogue = answeredLater(t, w)
	if r := audited(t, in); !slices.Contains(codes(r, finding.Evidence), anchor.CodeHead) {
		t.Errorf("%+v", r.Findings)
	}
	w = started(t)
	w.newJob(1).record()
	w.commitHead()
	in = w.input() // PCR not extended: no board answers then
	in.Dialogue = answeredLater(t, w)
	if r := audited(t, in); !slices.Contains(codes(r, finding.Evidence), anchor.CodePCR) {
		t.Errorf("%+v", r.Findings)
	}
}
