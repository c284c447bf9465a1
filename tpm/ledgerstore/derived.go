package ledgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// The derived files, indices into Store.derived.
const (
	hashesFile = iota
	offsetsFile
	plansFile
	marksFile
	derivedFiles
)

var derivedNames = [derivedFiles]string{"hashes", "offsets", "plans", "marks"}

// totals is what a beginning of the log amounts to.
type totals struct {
	tree         ledger.Tree
	plans, marks uint64
}

// sizes are the lengths of the derived files in bytes.
func (t *totals) sizes() [derivedFiles]int64 {
	n := int64(t.tree.Size())
	return [...]int64{tlog.StoredHashCount(n) * tlog.HashSize, n * offsetSize, int64(t.plans) * planSize, int64(t.marks) * markSize}
}

// add takes one append into account and returns what it adds to each of the
// derived files.
func (t *totals) add(g *group) (grown [derivedFiles][]byte) {
	for i, r := range g.records {
		if r.kind == kindPlan {
			grown[plansFile] = append(grown[plansFile], r.payload...)
			t.plans++
			continue
		}
		if k := markOf(r.payload); k != 0 {
			grown[marksFile] = append(binary.BigEndian.AppendUint64(grown[marksFile], t.tree.Size()), k)
			t.marks++
		}
		for _, h := range t.tree.Add(ledger.LeafHash(r.payload)) {
			grown[hashesFile] = append(grown[hashesFile], h[:]...)
		}
		grown[offsetsFile] = binary.BigEndian.AppendUint64(grown[offsetsFile], uint64(g.at[i]))
	}
	return grown
}

func (s *Store) derivedPath(which int) string { return filepath.Join(s.dir, derivedNames[which]) }

func (s *Store) openDerived() error {
	for i := range s.derived {
		f, err := s.disk.Open(s.derivedPath(i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return durable.Error("open", s.derivedPath(i), err)
		}
		s.derived[i] = f
	}
	return nil
}

// derive brings the derived files up to date after an append. It runs after
// the sync only: a hash on disk therefore proves that its leaf was durable.
func (s *Store) derive(g *group) error {
	at := s.totals.sizes()
	for i, b := range s.totals.add(g) {
		if len(b) == 0 {
			continue
		}
		if _, err := s.derived[i].WriteAt(b, at[i]); err != nil {
			return durable.Error("write", s.derivedPath(i), err)
		}
	}
	return nil
}

func (s *Store) readDerived(which int, b []byte, at int64) error {
	if s.derived[which] == nil {
		return os.ErrClosed
	}
	_, err := s.derived[which].ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		return s.suspect(s.derivedPath(which), at, "it is too short")
	}
	return durable.Error("read", s.derivedPath(which), err)
}

// checker compares a derived file with what it ought to hold, block by block,
// and, if it may, writes that again.
type checker struct {
	file    durable.File
	path    string
	strict  bool // content that differs is corruption, unless it is zeros
	repair  bool // write it again; else what differs is an error
	at      int64
	pending []byte
}

func (c *checker) add(b []byte) error {
	c.pending = append(c.pending, b...)
	if len(c.pending) < 1<<16 {
		return nil
	}
	return c.flush()
}

func (c *checker) flush() error {
	have := make([]byte, len(c.pending))
	n, err := c.file.ReadAt(have, c.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return durable.Error("read", c.path, err)
	}
	if !bytes.Equal(have[:n], c.pending) {
		if at := c.conflict(have[:n]); c.strict && at >= 0 {
			return &CorruptError{c.path, at, "a hash differs from its entry", "if the entries are known to be good, delete this file and start again"}
		}
		if !c.repair {
			return &CorruptError{c.path, c.at, "it differs from the log", startAgain}
		}
	}
	if c.repair { // also what is there: a sync that failed may have taken it for clean
		if _, err := c.file.WriteAt(c.pending, c.at); err != nil {
			return durable.Error("write", c.path, err)
		}
	}
	c.at += int64(len(c.pending))
	c.pending = c.pending[:0]
	return nil
}

// conflict finds a whole hash that is there and wrong. One whose bytes are
// right or zero is one that a power cut left half written.
func (c *checker) conflict(have []byte) int64 {
	for i := 0; i+tlog.HashSize <= len(have); i++ {
		if have[i] != c.pending[i] && have[i] != 0 {
			return c.at + int64(i-i%tlog.HashSize)
		}
	}
	return -1
}

// finish compares the rest. A file longer than it ought to be is cut off, but
// for hashes: those of entries that are gone show that durable entries are
// gone.
func (c *checker) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	size, err := c.file.Size()
	switch {
	case err != nil:
		return durable.Error("read", c.path, err)
	case size <= c.at:
		return nil
	case c.strict:
		return damaged(c.path, c.at, "it has hashes of entries that are no longer in the log, though they were durable")
	}
	return durable.Error("truncate", c.path, c.file.Truncate(c.at))
}
