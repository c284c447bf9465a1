package audit

import (
	"bytes"
	"slices"
	"testing"

	"touchmark/tpm/audit/finding"
)

func TestAttacks(t *testing.T) {
	base := newWorld(t, parts{})
	base.boot()
	base.ceremony(2)
	base.ceremony(1)
	base.checkpoint()
	seen := map[string]bool{}
	shown := newExamples(t, finding.Evidence, len(attacks))
	for _, a := range attacks {
		seen[a.code] = true
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			w := base.copy(t)
			r := audited(t, a.do(t, w))
			got := codes(r, finding.Evidence)
			if r.Verdict != finding.Tampered || !slices.Contains(got, a.code) {
				t.Fatalf("%s %+v, want %s", r.Verdict, r.Findings, a.code)
			}
			shown.add(a.code, r)
			for _, code := range got {
				if code != a.code && !slices.Contains(a.also, code) {
					t.Errorf("also found %s: %+v", code, r.Findings)
				}
			}
		})
	}
	names := map[string]bool{}
	for _, a := range attacks {
		names[a.name] = true
	}
	if len(names) != len(attacks) || len(attacks) < 60 || len(seen) < 40 {
		t.Errorf("%d attacks, %d names, %d codes", len(attacks), len(names), len(seen))
	}
}

// Every byte of every published entry matters.
func TestEveryByteOfALog(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	w.ceremony(1)
	for i := range w.hostSize {
		for at := 0; at < len(w.entries[i]); at += 61 {
			es := slices.Clone(w.entries[:w.hostSize])
			es[i] = bytes.Clone(es[i])
			es[i][at] ^= 1
			in := w.input()
			in.Entries = from(es)
			r, err := Run(in)
			if err != nil || r.Verdict != finding.Tampered {
				t.Fatalf("entry %d byte %d: %v %+v", i, at, err, r)
			}
		}
	}
}
