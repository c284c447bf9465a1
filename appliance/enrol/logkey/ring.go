package logkey

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"touchmark/tpm/ledgerstore/durable"
)

// NextFile is the key that is to replace the one in File, in the data directory.
const NextFile = "log.key.next"

// Ring is the keys of a data directory: the one in use, and maybe the one that
// administrators are to order in its place. The log says which of them signs,
// never their names.
type Ring struct {
	Dir  string
	Disk durable.Disk // where Dir is; nil: this machine's
}

func (r Ring) disk() durable.Disk {
	if r.Disk == nil {
		return durable.OS
	}
	return r.Disk
}

// MakeNext makes the key that is to come, or takes the one that is there: it is
// never overwritten.
func (r Ring) MakeNext(origin string) (*Key, error) {
	return makeAt(r.disk(), filepath.Join(r.Dir, NextFile), origin)
}

// Next is the key that is to come; os.ErrNotExist without one.
func (r Ring) Next() (*Key, error) { return read(r.disk(), filepath.Join(r.Dir, NextFile)) }

// Origin is the name that the keys have, the log's; "" without a key.
func (r Ring) Origin() string {
	for _, path := range r.files() {
		if k, err := read(r.disk(), path); err == nil {
			return k.Name()
		}
	}
	return ""
}

// files are where a key may be.
func (r Ring) files() [2]string {
	return [2]string{filepath.Join(r.Dir, File), filepath.Join(r.Dir, NextFile)}
}

// Find reads the private key of a note verifier key.
func (r Ring) Find(public string) (note.Signer, error) {
	var there []string
	for _, path := range r.files() {
		k, err := read(r.disk(), path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case k.Public == public:
			return k.Signer, nil
		}
		there = append(there, filepath.Base(path)+" is "+k.Public)
	}
	if there == nil {
		there = []string{"there is none"}
	}
	return nil, fmt.Errorf("no private key of %s in %s: %s", public, r.Dir, strings.Join(there, ", "))
}

// Keep makes the key that is in force the one in use: if it is the next, that
// takes the other's place, whose private half is gone then. It is durable on
// return, and may be done again.
func (r Ring) Keep(public string) error {
	next, err := r.Next()
	if errors.Is(err, os.ErrNotExist) || err == nil && next.Public != public {
		return nil
	}
	if err != nil {
		return err
	}
	files := r.files()
	if err := r.disk().Rename(files[1], files[0]); err != nil {
		return durable.Error("rename", files[1], err)
	}
	return r.disk().SyncDir(r.Dir)
}
