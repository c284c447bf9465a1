package watch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
	"touchmark/tpm/ledgerstore/durable"
)

// store is the queue on disk: the state in one file, each signature with its
// proof in two more, named by what they are of.
type store struct {
	dir  string
	kept []byte // what the file of the state holds
}

const (
	stateFile = "queue.json"
	signedDir = "signed"
	// maxSigned bounds a signature and a proof: 16 signatures, an inclusion path
	// and a checkpoint are a tenth of it.
	maxSigned = 1 << 20
)

func (s *store) path() string { return filepath.Join(s.dir, stateFile) }

func (s *store) load() (*round.State, error) {
	b, err := durable.ReadFile(durable.OS, s.path(), round.MaxState)
	if errors.Is(err, fs.ErrNotExist) {
		return &round.State{}, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := round.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: look at it and move it away; what was published stays, what waited is taken again", s.path(), err)
	}
	return st, nil
}

// save writes the state if it is not as it stands there.
func (s *store) save(st *round.State) error {
	b, err := st.Marshal()
	if err != nil {
		return err
	}
	if bytes.Equal(s.kept, b) {
		return nil
	}
	s.kept = nil
	if err := durable.WriteFile(s.path(), b, 0o600); err != nil {
		return err
	}
	s.kept = b
	return nil
}

// nameOf is that of an item's signature: another content has another one.
func nameOf(it round.Item) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(it.Format+"\n"+it.Name+"\n"+it.Digest+"\n")))
}

func (s *store) signed(it round.Item, suffix string) string {
	return filepath.Join(s.dir, signedDir, nameOf(it)+suffix)
}

// put keeps the signatures of a job, as far as it has some, durably.
func (s *store) put(items []round.Item, sigs []staging.Signature) error {
	if len(sigs) == 0 {
		return nil
	}
	if len(items) != len(sigs) {
		return fmt.Errorf("%d signatures for %d files", len(sigs), len(items))
	}
	for i, it := range items {
		if len(sigs[i].Signature) == 0 {
			continue
		}
		if err := durable.Replace(s.signed(it, ".sig"), sigs[i].Signature, 0o600); err != nil {
			return err
		}
		if err := durable.Replace(s.signed(it, ".tmproof"), sigs[i].Proof, 0o600); err != nil {
			return err
		}
	}
	return durable.SyncAll(filepath.Join(s.dir, signedDir))
}

func (s *store) get(it round.Item) (*staging.Signature, error) {
	sig, err := durable.ReadFile(durable.OS, s.signed(it, ".sig"), maxSigned)
	if err != nil {
		return nil, err
	}
	proof, err := durable.ReadFile(durable.OS, s.signed(it, ".tmproof"), maxSigned)
	return &staging.Signature{Signature: sig, Proof: proof}, err
}

// clean removes signatures of what is in no snapshot any more.
func (s *store) clean(st *round.State) error {
	needed := map[string]bool{}
	for _, p := range st.Rules {
		for _, n := range p.Numbers() {
			for _, it := range p.Find(n).Items {
				needed[nameOf(it)+".sig"], needed[nameOf(it)+".tmproof"] = true, true
			}
		}
	}
	names, err := durable.OS.List(filepath.Join(s.dir, signedDir))
	for _, name := range names {
		if !needed[name] {
			err = errors.Join(err, durable.OS.Remove(filepath.Join(s.dir, signedDir, name)))
		}
	}
	return err
}
