package ledgerstore

import (
	"fmt"
	"io/fs"
	"testing"

	"touchmark/tpm/anchor"
)

// bigStore makes a log of n entries of about 800 bytes, the mean of a real
// log, a third of them with a plan, and leaves a tail behind the base.
func bigStore(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	s, err := Options{Disk: hasty}.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	for int(s.Size()) < n {
		var entries [][]byte
		for i := range 3 {
			entries = append(entries, entryBytes(s.Size()+uint64(i), 750))
		}
		if err := s.Append(entries, &anchor.Plan{Size: s.Size() + 3}); err != nil {
			b.Fatal(err)
		}
	}
	s.broken = fs.ErrClosed // a power cut: Close writes no base
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkBig shows how start, proofs and reading backwards grow with the log.
func BenchmarkBig(b *testing.B) {
	for _, n := range []int{1e3, 1e4, 1e5, 1e6} {
		dir := bigStore(b, n)
		b.Run(fmt.Sprintf("open/%d", n), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(dir)
				if err != nil {
					b.Fatal(err)
				}
				s.broken = fs.ErrClosed
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
		s := mustOpen(b, dir)
		at := uint64(0)
		for name, do := range map[string]func() error{
			"inclusion":   func() error { _, err := s.Inclusion(at, s.Size()); return err },
			"consistency": func() error { _, err := s.Consistency(at+1, s.Size()); return err },
			"root":        func() error { _, err := s.Root(at); return err },
			"entry":       func() error { _, err := s.Entry(at); return err },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					at = (at + 7919) % (s.Size() - 1)
					if err := do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("scrub/%d", n), func(b *testing.B) {
			b.SetBytes(s.end)
			for b.Loop() {
				if err := s.Scrub(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
