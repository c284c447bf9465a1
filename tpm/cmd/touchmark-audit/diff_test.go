package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"touchmark/hostlink/hostd/logtest"
	"touchmark/tpm/cli"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/tiles"
)

// publish writes a log as a host does.
func publish(t *testing.T, dir string, l *logtest.Log) {
	t.Helper()
	s, err := ledgerstore.Create(filepath.Join(t.TempDir(), "store"))
	must(t, err)
	must(t, s.Append(l.Entries, nil))
	must(t, tiles.Publish(dir, s, l.Note, l.Size()))
	must(t, s.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A TPM that certifies two histories convicts itself: both checkpoints verify,
// neither is a beginning of the other, and the report holds both.
func TestDiffOfAFork(t *testing.T) {
	note := logtest.NewParties().Policy
	a := logtest.New(note)
	for range 300 {
		a.Filler(logtest.Noon)
	}
	b := *a
	tpm := *a.TPM
	b.TPM, b.Entries = &tpm, slices.Clone(a.Entries)
	a.Filler(logtest.Noon)
	a.Commit()
	for range 3 {
		b.Filler(logtest.Noon.AddDate(0, 0, 1))
	}
	b.Commit()
	dir := t.TempDir()
	left, right, trust := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "trust")
	publish(t, left, a)
	publish(t, right, &b)
	must(t, os.WriteFile(trust, a.TrustText(), 0o600))
	var out bytes.Buffer
	if code := run([]string{"diff", left, right, "--trust", trust, "--json"}, &out, &out); code != cli.Evidence {
		t.Fatalf("exit code %d: %s", code, out.String())
	}
	var c struct { // the report
		Result string
		Same   uint64
		Logs   []struct{ Checkpoint string }
	}
	must(t, json.Unmarshal(out.Bytes(), &c))
	if c.Result != "fork" || c.Same != a.Size()-1 || len(c.Logs) != 2 || c.Logs[0].Checkpoint != string(a.Note) || c.Logs[1].Checkpoint != string(b.Note) {
		t.Errorf("%+v", c)
	}
	for _, l := range c.Logs {
		if _, err := a.Trust.OpenCheckpoint([]byte(l.Checkpoint)); err != nil {
			t.Errorf("the evidence does not verify: %v", err)
		}
	}
	out.Reset()
	if code := run([]string{"diff", left, right, "--trust", trust}, &out, &out); code != cli.Evidence || !bytes.Contains(out.Bytes(), []byte("FORK")) {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	a.Filler(logtest.Noon)
	a.Commit()
	longer := filepath.Join(dir, "c")
	publish(t, longer, a)
	if code := run([]string{"diff", left, longer, "--trust", trust}, &out, &out); code != cli.Clean {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}
