package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

// bundle takes an entry bundle apart without package ledgerstore, which this
// package does not reach: u16 length and bytes, the rest dropped.
func bundle(b []byte) (entries [][]byte) {
	for len(b) >= 2 {
		n := int(b[0])<<8 | int(b[1])
		if n > len(b)-2 {
			return entries
		}
		entries, b = append(entries, b[2:2+n]), b[2+n:]
	}
	return entries
}

func exampleFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/example", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func trustFile(t testing.TB) (*anchor.Trust, error) {
	t.Helper()
	return anchor.OpenTrust(exampleFile(t, "trust/trust"))
}

// Whatever is published under the example's trust: no panic, and a clean
// verdict only for entries that are the example's own first ones.
func FuzzRun(f *testing.F) {
	entries, pending, cp := exampleFile(f, "log/tile/entries/000.p/14"), exampleFile(f, "log/pending"), exampleFile(f, "log/checkpoint")
	f.Add(entries, pending, cp)
	f.Add(entries, []byte{}, exampleFile(f, "earlier-checkpoint"))
	trust, err := trustFile(f)
	if err != nil {
		f.Fatal(err)
	}
	good := append(bundle(entries), bundle(pending)...)
	f.Fuzz(func(t *testing.T, entries, pending, cp []byte) {
		all := bundle(entries)
		r, err := Run(Input{Trust: trust, Checkpoint: cp, Entries: from(all), Pending: bundle(pending)})
		if err != nil || r.Verdict != finding.Clean {
			return
		}
		for i := range r.Size {
			if !bytes.Equal(all[i], good[i]) {
				t.Fatalf("entry %d is not the committed one", i)
			}
		}
		if _, _, _, err := ledger.ParseCheckpointBody(append(bytes.SplitN(cp, []byte("\n\n"), 2)[0], '\n')); err != nil {
			t.Fatal("clean without a checkpoint")
		}
	})
}
