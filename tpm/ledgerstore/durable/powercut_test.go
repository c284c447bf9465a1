package durable_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// Every call of a WriteFile fails in every way, and the power goes at every
// moment, with every outcome: the file has the old content or the new, the new
// if WriteFile said so.
func TestWriteFileSurvives(t *testing.T) {
	tries := 0
	for _, fault := range disktest.Faults {
		for call := 1; ; call++ {
			d := disktest.New("/d")
			if err := durable.WriteFileOn(d, "/d/f", []byte("the old content"), 0o600); err != nil {
				t.Fatal(err)
			}
			d.FailAt(call, fault, unix.EIO)
			err := durable.WriteFileOn(d, "/d/f", []byte("the new one"), 0o600)
			done := d.Pending()
			if done && err != nil {
				t.Fatal(err)
			}
			tries += disktest.Every(5000, func(pick func(int) int) {
				c := d.Clone()
				c.PowerCut(pick)
				b, rerr := durable.ReadFile(c, "/d/f", 100)
				if got := string(b); rerr != nil || got != "the new one" && (err == nil || got != "the old content") {
					t.Fatalf("fault %d at call %d: %q, %v", fault, call, got, rerr)
				}
			})
			if done {
				break
			}
		}
	}
	t.Logf("%d outcomes", tries)
}

// Directories that MkdirAll made are there after a power cut.
func TestMkdirAllSurvives(t *testing.T) {
	for _, fault := range disktest.Faults {
		for call := 1; ; call++ {
			d := disktest.New("/d")
			d.FailAt(call, fault, unix.EIO)
			err := durable.MkdirAllOn(d, "/d/a/b/c", 0o700)
			done := d.Pending()
			disktest.Every(5000, func(pick func(int) int) {
				c := d.Clone()
				c.PowerCut(pick)
				if _, lerr := c.List("/d/a/b/c"); err == nil && lerr != nil {
					t.Fatalf("fault %d at call %d: %v", fault, call, lerr)
				}
				if err := durable.MkdirAllOn(c, "/d/a/b/c", 0o700); err != nil {
					t.Fatal(err)
				}
			})
			if done {
				break
			}
		}
	}
}
