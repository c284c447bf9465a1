package audit

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/published"
	"touchmark/tpm/ledger"
)

// Root on the board can steal one signature a touch: show A, have the token
// sign B, and report that nobody touched. No log proves it; this is exactly
// what is left: the intent for A ends without a signature, as one piece of
// information, and whoever meets B finds no intent that announced it.
func TestStolenSignatureLeavesThisTrace(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	w.ceremony(1)
	w.pass(time.Minute)
	shown := w.newJob(1) // A, on the display
	shown.record()
	w.commit()
	stolen := w.ceremonyOf("B", shown) // the touch
	shown.end(ledger.TimedOut, "")
	w.attest()
	w.add(shown.outcome)
	w.ceremony(1)
	r := audited(t, w.input())
	want := []string{finding.Freshness, finding.MaybeSigned, finding.Wear}
	got := codes(r, finding.Info)
	slices.Sort(got)
	if r.Verdict != finding.Clean || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s %+v", r.Verdict, r.Findings)
	}
	i := slices.IndexFunc(r.Findings, func(f finding.Finding) bool { return f.Code == finding.MaybeSigned })
	if f := r.Findings[i]; f.Count != 1 || !reflect.DeepEqual(f.Entries, []uint64{shown.index}) {
		t.Errorf("%+v", f)
	}
	if got := inRepository(t, w, stolen); !reflect.DeepEqual(got, []string{"perhaps-signed demo0.db.tar.gz", "signature-unlogged B.sig"}) {
		t.Errorf("%v", got)
	}
}

// inRepository says what a repository that holds one signature tells, but for
// what was never published.
func inRepository(t *testing.T, w *world, sig []byte) (out []string) {
	t.Helper()
	repo := published.New(certificate.Keyring{{Key: w.key}}, origin)
	repo.Add("B.sig", sig, nil)
	m := repo.Against(func(f published.Found) error {
		if f.State != published.Unpublished && f.State != published.Superseded {
			out = append(out, string(f.State)+" "+f.File)
		}
		return nil
	})
	for i, e := range w.entries {
		w.must(m.Entry(uint64(i), e))
	}
	w.must(m.Finish())
	slices.Sort(out)
	return out
}
