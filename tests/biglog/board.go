package biglog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
)

// LogKey is what signs the checkpoints of every log made here.
func LogKey() (note.Signer, error) {
	s, _, err := ed(Origin)
	return s, err
}

// Board is the log as its appliance keeps it: the directory of a store, made
// from the published copy on the first call and kept beside it.
func (p *Published) Board() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(p.Log), "board-"+StoreEdition)
	whole := dir + ".whole" // written last
	if _, err := os.Stat(whole); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	store, err := ledgerstore.Options{Disk: hasty{durable.OS}}.Create(dir)
	if err != nil {
		return "", err
	}
	if err := errors.Join(p.copyTo(store), store.Close()); err != nil {
		return "", err
	}
	return dir, os.WriteFile(whole, nil, 0o644)
}

// StoreEdition names the format of a store's files: a change of any needs a
// new one.
const StoreEdition = "2"

// copyTo appends everything as the appliance did: what is pending together
// with the entry that ends a commit, and the commit's plan.
func (p *Published) copyTo(store *ledgerstore.Store) error {
	published, err := tiles.Open(p.Log)
	if err != nil {
		return err
	}
	var tree ledger.Tree
	var head [32]byte
	var group [][]byte
	for e, err := range published.Entries(0) {
		if err != nil {
			return err
		}
		tree.Add(ledger.LeafHash(e))
		group = append(group, e)
		_, body, err := ledger.Parse(e)
		if err != nil {
			return err
		}
		if !ledger.EndsCommit(body) {
			continue
		}
		plan := &anchor.Plan{Size: tree.Size(), X: ledger.X(ledger.CheckpointBody(Origin, tree.Size(), tree.Root())), Prev: head}
		if err := store.Append(group, plan); err != nil {
			return err
		}
		head, group = plan.Head(), nil
	}
	pending, err := published.Pending()
	if err != nil || len(pending) == 0 {
		return err
	}
	return store.Append(pending, nil)
}

// hasty is a disk that nobody waits for: what is lost is made again.
type hasty struct{ durable.Disk }

type hastyFile struct{ durable.File }

func (hasty) SyncDir(string) error { return nil }
func (hastyFile) Sync() error      { return nil }

func (d hasty) Open(path string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.Open(path, flag, perm)
	return hastyFile{f}, err
}
