//go:build emulated

package main

import (
	"testing"

	"touchmark/tests/biglog"
)

// The peer of the audit does every signature of a log, and notices a wrong one.
func TestCryptoWork(t *testing.T) {
	log, err := biglog.Cached(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	w, err := loadCrypto(log)
	if err != nil {
		t.Fatal(err)
	}
	if want := 100 + 2*log.Commits + 2*log.Boots; len(w.ecdsa) != want || len(w.ed25519) != log.Commits-1 || w.bytes == 0 {
		t.Errorf("%d ECDSA, want %d, %d Ed25519, want %d, %d bytes", len(w.ecdsa), want, len(w.ed25519), log.Commits-1, w.bytes)
	}
	if err := w.do(); err != nil {
		t.Error(err)
	}
	w.ecdsa[7].sig[20] ^= 1
	if err := w.do(); err == nil {
		t.Error("a wrong signature passes")
	}
}

// A quick run has the rows of a full one.
func TestQuickHasTheSameRows(t *testing.T) {
	quick, full := logSizes(true, false), logSizes(false, false)
	if len(quick) != len(full) {
		t.Fatalf("%d logs, %d in a full run", len(quick), len(full))
	}
	for i := range full {
		if quick[i].name != full[i].name || quick[i].signatures > full[i].signatures {
			t.Errorf("%+v, in a full run %+v", quick[i], full[i])
		}
	}
}
