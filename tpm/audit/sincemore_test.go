package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// sinceAndWhole are the reports from a checkpoint on and on the whole log.
func sinceAndWhole(t *testing.T, w *world, old []byte) (since, whole *report.Report) {
	t.Helper()
	in := w.input()
	whole = audited(t, in)
	in.Since = old
	return audited(t, in), whole
}

// explained is what a finding says, "" if there is none.
func explained(r *report.Report, code string) string {
	for _, f := range r.Findings {
		if f.Code == code {
			return f.Explanation
		}
	}
	return ""
}

// longLog is one of which an audit since its newest checkpoint reads a part.
func longLog(t *testing.T, rates string) (w *world, old []byte) {
	t.Helper()
	w = newWorld(t, parts{genuine: true, rates: rates})
	w.days(30, 4)
	return w, w.checkpoint()
}

// What HEAD took before the start counts as wear, orders among them.
func TestSinceCountsAllWear(t *testing.T) {
	w, _ := longLog(t, `"60/1h"`)
	w.do(&order.Note{})
	w.days(12, 4)
	w.do(&order.Note{})
	old := w.checkpoint()
	w.boot() // no intent from here on
	w.do(&order.Note{})
	since, whole := sinceAndWhole(t, w, old)
	if got, want := explained(since, finding.Wear), explained(whole, finding.Wear); got != want || since.Since == 0 || got == "" {
		t.Errorf("%q, a full audit says %q", got, want)
	}
}

// An outcome behind the start of an intent before it is judged.
func TestSinceOfAnOutcomeBehindTheStart(t *testing.T) {
	for _, state := range []ledger.State{ledger.Signed, ledger.Failed} {
		w, _ := longLog(t, `"60/1h"`)
		w.pass(time.Minute)
		j := w.newJob(1)
		j.record()
		w.commit()
		j.sign()
		w.attest()
		w.pass(30 * time.Hour)
		w.boot()
		for range 2 {
			w.pass(25 * time.Hour)
			w.boot()
			w.ceremony(1)
		}
		old := w.checkpoint()
		if state != ledger.Signed {
			j.end(state, "token-error")
		}
		w.add(j.outcome)
		w.ceremony(1)
		since, whole := sinceAndWhole(t, w, old)
		if got := codes(since, finding.Evidence); len(got) > 0 || !slices.Equal(codes(whole, finding.Info), codes(since, finding.Info)) {
			t.Errorf("%s: %+v\na full audit says %+v", state, since.Findings, whole.Findings)
		}
	}
}

// A policy with a wider window, or a clock that was set back, makes what was
// signed long before count: no breach is missed.
func TestSinceLooksBackAsFarAsItMust(t *testing.T) {
	for name, do := range map[string]func(w *world){
		"wider window in the new part": func(w *world) { w.adopt(w.nextPolicy(`rates = ["60/1h"]`, `rates = ["60/1h", "80/30d"]`)) },
		"clock set back in the new part": func(w *world) {
			w.setClock(w.now.Add(-20 * 24 * time.Hour))
			w.adopt(w.nextPolicy(`rates = ["60/1h"]`, `rates = ["80/1h"]`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := longLog(t, `"60/1h"`)
			w.days(1, 1)
			old := w.checkpoint()
			do(w)
			w.ceremony(1)
			since, whole := sinceAndWhole(t, w, old)
			if got, want := codes(since, finding.Evidence), codes(whole, finding.Evidence); !slices.Equal(got, want) || !slices.Equal(want, []string{finding.Breach}) || since.Since == 0 {
				t.Errorf("since %d: %v, a full audit finds %v", since.Since, got, want)
			}
		})
	}
}

// Entries before a correction of the clock may have later times than those
// behind: what counts of them is read.
func TestSinceBehindACorrection(t *testing.T) {
	w, _ := longLog(t, `"9/1h"`)
	w.pass(20 * 24 * time.Hour)
	w.boot()
	w.ceremony(5)
	w.setClock(w.now.Add(-20 * 24 * time.Hour))
	w.days(18, 4)
	old := w.checkpoint()
	w.ceremony(5)
	since, whole := sinceAndWhole(t, w, old)
	if got, want := codes(since, finding.Evidence), codes(whole, finding.Evidence); !slices.Equal(got, want) || !slices.Contains(want, finding.Breach) || since.Since == 0 {
		t.Errorf("since %d: %v, a full audit finds %v", since.Since, got, want)
	}
}

// Proofs and checkpoints from before the start are of this log, and those of
// another are not.
func TestSinceComparesWhatIsOlder(t *testing.T) {
	w := newWorld(t, parts{genuine: true, rates: `"60/1h"`})
	w.days(2, 2)
	ancient := w.checkpoint()
	fork := w.copy(t)
	w.days(30, 4)
	old := w.checkpoint()
	w.days(1, 1)
	in := w.input()
	in.Since, in.Previous = old, [][]byte{ancient}
	if r := audited(t, in); r.Verdict != finding.Clean || r.Since == 0 {
		t.Errorf("since %d: %+v", r.Since, r.Findings)
	}
	fork.ceremony(1)
	in.Previous = [][]byte{fork.checkpoint()}
	if r := audited(t, in); !slices.Equal(codes(r, finding.Evidence), []string{finding.Forked}) {
		t.Errorf("%+v", r.Findings)
	}
}
