package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// log is a published log with a good checkpoint.
type log struct {
	trust   *anchor.Trust
	tiles   *tiles.Tiles
	pending [][]byte
	note    []byte
	cp      *anchor.Checkpoint
}

// openLog opens a published log; its checkpoint must verify.
func openLog(dir, trust string) (*log, error) {
	tr, err := readTrust(trust)
	if err != nil {
		return nil, err
	}
	l := &log{trust: tr}
	if l.tiles, err = tiles.Open(dir); err != nil {
		return nil, err
	}
	if l.pending, err = l.tiles.Pending(); err != nil { // before the checkpoint: see Tiles.Pending
		return nil, err
	}
	if l.note, err = l.tiles.Checkpoint(); err != nil {
		return nil, fmt.Errorf("%w (is %s a published log?)", err, dir)
	}
	if l.cp, err = tr.OpenCheckpoint(l.note); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, nil
}

// entry reads one entry.
func (l *log) entry(i uint64) ([]byte, error) {
	for raw, err := range l.tiles.Entries(i) {
		return raw, err
	}
	return nil, fmt.Errorf("entry %d is missing", i)
}

// prove makes the proof of an intent.
func (l *log) prove(index uint64) (*ledger.Proof, error) {
	if index >= l.cp.Size {
		return nil, fmt.Errorf("entry %d is not covered by the checkpoint of %d entries yet", index, l.cp.Size)
	}
	raw, err := l.entry(index)
	if err != nil {
		return nil, err
	}
	path, err := history.Path(l.cp.Size, l.cp.Root, index, l.tiles.HashTile)
	if err != nil {
		return nil, err
	}
	p := &ledger.Proof{Origin: l.trust.Origin, Index: index, Size: l.cp.Size, Path: path, Intent: raw, Checkpoint: l.note}
	if _, _, err := l.trust.VerifyProof(p); err != nil {
		return nil, err
	}
	return p, nil
}

func logFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "log", "", "published log")
	if err := cmd.MarkFlagRequired("log"); err != nil {
		panic(err) // the flag is defined one line above
	}
}
