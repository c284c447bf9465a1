package biglog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// The same number gives the same log, whatever the machine.
func TestDeterministic(t *testing.T) {
	sum := func() string {
		h := sha256.New()
		f, err := Generate(500, func(a Append) error {
			for _, e := range a.Entries {
				h.Write(e)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if f.Signatures != 500 || f.Size >= f.Entries || f.Boots != 1 || f.Commits != 40 {
			t.Errorf("%d signatures, %d of %d entries, %d boots, %d commits", f.Signatures, f.Size, f.Entries, f.Boots, f.Commits)
		}
		h.Write(f.Checkpoint)
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	if a, b := sum(), sum(); a != b {
		t.Errorf("%s, then %s", a, b)
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		if _, err := Generate(10000, func(Append) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// A board's store of a log holds the same entries as the published copy, every
// commit of it planned, and is made once.
func TestBoard(t *testing.T) {
	p, err := Cached(t.TempDir(), 300)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := p.Board()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.Board(); again != dir || err != nil {
		t.Fatalf("%s, then %s, %v", dir, again, err)
	}
	s, err := ledgerstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	plans, jobs := 0, 0
	for plan, err := range s.PlansBackward() {
		if err != nil {
			t.Fatal(err)
		}
		root, err := s.Root(plan.Size)
		if err != nil || plan.X != ledger.X(ledger.CheckpointBody(Origin, plan.Size, root)) || plans == 0 && plan.Size != p.Size {
			t.Fatalf("plan of size %d: %v", plan.Size, err)
		}
		plans++
	}
	for _, err := range s.Jobs(0) {
		if err != nil {
			t.Fatal(err)
		}
		jobs++
	}
	if s.Size() != p.Entries || plans != p.Commits || jobs != 2*(p.Commits-1) {
		t.Errorf("%d entries of %d, %d plans of %d, %d jobs", s.Size(), p.Entries, plans, p.Commits, jobs)
	}
	if err := errors.Join(s.Scrub(t.Context(), nil), s.Close()); err != nil {
		t.Error(err)
	}
}
