// Package mirror opens a published log for commands that trust what its checkpoint
// covers: the checkpoint is good, and what is read is held against it. The verdict on
// a log is not given here but by tpm/audit.
package mirror

import (
	"errors"
	"fmt"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/cli"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// Log is a published log with a good checkpoint.
type Log struct {
	Trust      *anchor.Trust
	Note       []byte             // the checkpoint as it is published
	Checkpoint *anchor.Checkpoint // what it says

	tiles   *tiles.Tiles
	pending [][]byte
}

// Open opens a published log; its checkpoint must verify.
func Open(dir, trust string) (*Log, error) {
	tr, err := cli.ReadTrust(trust)
	if err != nil {
		return nil, err
	}
	l := &Log{Trust: tr}
	if l.tiles, err = tiles.Open(dir); err != nil {
		return nil, err
	}
	if l.pending, err = l.tiles.Pending(); err != nil { // before the checkpoint: see Tiles.Pending
		return nil, err
	}
	if l.Note, err = l.tiles.Checkpoint(); err != nil {
		return nil, fmt.Errorf("%w (is %s a published log?)", err, dir)
	}
	if l.Checkpoint, err = tr.OpenCheckpoint(l.Note); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, nil
}

// entry reads one entry.
func (l *Log) entry(i uint64) ([]byte, error) {
	for raw, err := range l.tiles.Entries(i) {
		return raw, err
	}
	return nil, fmt.Errorf("entry %d is missing", i)
}

// Prove makes the proof of an intent.
func (l *Log) Prove(index uint64) (*ledger.Proof, error) {
	if index >= l.Checkpoint.Size {
		return nil, fmt.Errorf("entry %d is not covered by the checkpoint of %d entries yet", index, l.Checkpoint.Size)
	}
	raw, err := l.entry(index)
	if err != nil {
		return nil, err
	}
	path, err := history.Path(l.Checkpoint.Size, l.Checkpoint.Root, index, l.tiles.HashTile)
	if err != nil {
		return nil, err
	}
	p := &ledger.Proof{Origin: l.Trust.Origin, Index: index, Size: l.Checkpoint.Size, Path: path, Intent: raw, Checkpoint: l.Note}
	if _, _, err := l.Trust.VerifyProof(p); err != nil {
		return nil, err
	}
	return p, nil
}

// RootAt is the root that the log had when it was n entries long, at most as many as the
// checkpoint covers.
func (l *Log) RootAt(n uint64) ([32]byte, error) {
	return history.RootAt(l.Checkpoint.Size, l.Checkpoint.Root, n, l.tiles.HashTile)
}

var errNotCommitted = errors.New("the entries do not lead to the checkpoint's root: run 'touchmark-audit verify'")

// Each gives the entries that the checkpoint covers, then the pending ones,
// and fails unless the former lead to its root.
func (l *Log) Each(f func(index uint64, raw []byte) error) error {
	var tree ledger.Tree
	for raw, err := range l.tiles.Entries(0) {
		if err != nil {
			return err
		}
		if tree.Size() == l.Checkpoint.Size {
			break
		}
		if err := f(tree.Size(), raw); err != nil {
			return err
		}
		tree.Add(ledger.LeafHash(raw))
	}
	if tree.Size() != l.Checkpoint.Size || tree.Root() != l.Checkpoint.Root {
		return errNotCommitted
	}
	for _, raw := range l.pending {
		if h, _, err := ledger.Parse(raw); err == nil && h.Index < tree.Size() {
			continue
		}
		if err := f(tree.Size(), raw); err != nil {
			return err
		}
		tree.Add(ledger.LeafHash(raw))
	}
	return nil
}
