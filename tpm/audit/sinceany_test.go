package audit

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
)

// TestSinceAnywhere: wherever an audit begins, before, between or behind
// entries that change what is in force, it comes to what a full audit says.
func TestSinceAnywhere(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func(w *world)
		evidence []string
	}{
		{"renewed twice", func(w *world) {
			w.renew(w.now.Add(10 * 24 * time.Hour))
			w.days(2, 2)
			w.renew(w.now.Add(400 * 24 * time.Hour))
		}, nil},
		{"expired", func(w *world) { w.renew(w.now.Add(24 * time.Hour)) }, []string{finding.KeyExpired}},
		{"revoked", func(w *world) { w.revoke(sigformat.Retired) }, []string{finding.KeyRevoked}},
		{"renewal denied", func(w *world) { w.asked(ledger.Denied) }, nil},
	} {
		for name, days := range map[string][2]int{"before the start": {15, 30}, "behind the start": {38, 12}} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, parts{genuine: true, rates: `"60/1h"`})
				w.days(days[0], 2)
				tt.do(w)
				var since []*shown
				w.published = func() {
					if len(w.entries) > 275 {
						since = append(since, w.shown)
					}
				}
				w.days(days[1], 2)
				full := audited(t, w.input())
				if got := codes(full, finding.Evidence); !sameCodes(got, tt.evidence) || len(since) < 6 {
					t.Errorf("%d audits, %+v", len(since), full.Findings)
				}
				for _, p := range since {
					compareSince(t, w, p, full)
				}
			})
		}
	}
}

func compareSince(t *testing.T, w *world, p *shown, full *report.Report) {
	t.Helper()
	newest := w.shown
	in := w.input()
	w.shown = p
	in.Since = w.checkpoint()
	w.shown = newest
	read := 0
	r := audited(t, counting(in, &read))
	if r.Since == 0 || read > 2*len(w.entries) {
		t.Fatalf("%d entries read, since %d", read, r.Since)
	}
	if !reflect.DeepEqual(r.Certificate, full.Certificate) || r.Head != full.Head || r.Closed != full.Closed || r.Successor != full.Successor {
		t.Errorf("since %d: %+v %s %v, a full audit says %+v %s %v", r.Since, r.Certificate, r.Head, r.Closed, full.Certificate, full.Head, full.Closed)
	}
	if want, got := saidFrom(full, r.Since), saidFrom(r, r.Since); !maps.EqualFunc(want, got, slices.Equal[[]uint64]) {
		t.Errorf("since %d: %v, a full audit says %v", r.Since, got, want)
	}
}

// saidFrom are the entries from an index on that findings name.
func saidFrom(r *report.Report, from uint64) map[string][]uint64 {
	said := map[string][]uint64{}
	for _, f := range r.Findings {
		for _, e := range f.Entries {
			if e >= from {
				key := string(f.Severity) + " " + f.Code
				said[key] = append(said[key], e)
			}
		}
	}
	return said
}

func sameCodes(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
