package station

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// BenchmarkStart is what a start costs before the TPM is asked: opening the
// store and reading what matters of it, which with this log's policy is its
// last 30 days.
func BenchmarkStart(b *testing.B) {
	for _, signatures := range []int{45_000} {
		b.Run(fmt.Sprint(signatures), func(b *testing.B) {
			dir, origin, last := bigStore(b, signatures)
			seed := sha256.Sum256([]byte("biglog " + origin))
			vkey, err := note.NewEd25519VerifierKey(origin, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
			if err != nil {
				b.Fatal(err)
			}
			v, err := note.NewVerifier(vkey)
			if err != nil {
				b.Fatal(err)
			}
			key, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				store, err := ledgerstore.Open(dir)
				if err != nil {
					b.Fatal(err)
				}
				s := New(Config{Store: store, LogKeys: FixedLogKey(key), Log: zerolog.Nop(), Clock: func() time.Time { return last }})
				if s.fault != nil {
					b.Fatal(s.fault)
				}
				if s.past.From == 0 {
					b.Fatal("it read everything")
				}
				b.ReportMetric(float64(store.Size()-s.past.From), "entries-read")
				if err := store.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bigStore writes a long log; last is the time of its last entry.
func bigStore(b *testing.B, signatures int) (dir, origin string, last time.Time) {
	b.Helper()
	dir = b.TempDir()
	store, err := ledgerstore.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	if _, err = biglog.Generate(signatures, func(a biglog.Append) error { return store.Append(a.Entries, a.Plan) }); err != nil {
		b.Fatal(err)
	}
	raw, err := store.Entry(store.Size() - 1)
	if err != nil {
		b.Fatal(err)
	}
	h, _, err := ledger.Parse(raw)
	if err != nil {
		b.Fatal(err)
	}
	if raw, err = store.Entry(0); err != nil {
		b.Fatal(err)
	}
	_, body, err := ledger.Parse(raw)
	if err != nil {
		b.Fatal(err)
	}
	return dir, body.(*ledger.Genesis).Origin, errClose(b, store, h.Time)
}

func errClose(b *testing.B, s *ledgerstore.Store, t time.Time) time.Time {
	b.Helper()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return t
}
