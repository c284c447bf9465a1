package biglog

import (
	"crypto/sha256"
	"fmt"
	"testing"
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
