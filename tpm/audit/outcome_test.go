package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

// An outcome that does not fit its intent ends it, and frees no rate.
func TestOutcomeThatDoesNotFitCountsAsUnknown(t *testing.T) {
	for name, lie := range map[string]func(o *ledger.Outcome){
		"job":   func(o *ledger.Outcome) { o.Job[0] ^= 1 },
		"items": func(o *ledger.Outcome) { o.Items = append(o.Items, ledger.ItemResult{State: ledger.Denied}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, parts{rates: `"1/1h"`})
			w.boot()
			w.pass(time.Minute)
			j := w.newJob(1)
			j.record()
			w.commit()
			j.end(ledger.Denied, "")
			right := *j.outcome
			lie(j.outcome)
			w.attest()
			w.add(j.outcome)
			w.add(&right) // too late
			w.ceremony(1)
			r := audited(t, w.input())
			bad := codes(r, finding.Evidence)
			slices.Sort(bad)
			i := slices.IndexFunc(r.Findings, func(f finding.Finding) bool { return f.Code == finding.Outcome })
			if !slices.Equal(bad, []string{finding.Outcome, finding.Breach}) || r.Findings[i].Count != 2 || r.Items["unknown"] != 1 || r.Items["denied"] != 0 {
				t.Errorf("%+v %v", r.Findings, r.Items)
			}
		})
	}
}
