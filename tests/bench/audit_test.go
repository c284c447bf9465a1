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

func TestShort(t *testing.T) {
	for n, want := range map[int]string{1000: "1e3", 30_000: "3e4", 1_000_000: "1e6"} {
		if got := short(n); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
