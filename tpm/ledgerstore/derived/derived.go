// Package derived keeps what is made from a log's segments and made again from
// them when it is missing: Merkle hashes, positions of entries, plans, and
// where the entries stand that a start must find. They make a start, a root or
// a proof cost O(log n). docs/spec/ledger.md section 3 draws every byte.
//
// The files are written after an append was synced and not synced themselves;
// the base says up to where they are durable. A Checker compares them with the
// segments. Nothing here is safe for several goroutines but reading beside
// reading.
package derived

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/segment"
)

// File is one of the derived files.
type File int

// The derived files.
const (
	Hashes  File = iota // Merkle hashes in tlog's stored order
	Offsets             // position of each entry's record, u64
	Plans               // the plans again
	Marks               // entries by kind, see Mark
	Jobs                // intents and outcomes, see Job
	Files               // how many there are
)

// Names are those of the files.
var Names = [Files]string{"hashes", "offsets", "plans", "marks", "jobs"}

// ItemSize is the length of an item of each, in bytes.
var ItemSize = [Files]int64{tlog.HashSize, offsetSize, segment.PlanSize, markSize, jobSize}

const (
	offsetSize = 8 // position u64
	markSize   = 9 // index u64 | kind u8
)

// Totals is what a beginning of the log amounts to.
type Totals struct {
	Tree               ledger.Tree
	Plans, Marks, Jobs uint64
}

// Sizes are the lengths of the files in bytes.
func (t *Totals) Sizes() [Files]int64 {
	n := int64(t.Tree.Size())
	counts := [Files]int64{tlog.StoredHashCount(n), n, int64(t.Plans), int64(t.Marks), int64(t.Jobs)}
	for i := range counts {
		counts[i] *= ItemSize[i]
	}
	return counts
}

// Add takes one append into account and returns what it adds to each of the
// files.
func (t *Totals) Add(g *segment.Group) (grown [Files][]byte) {
	for i, r := range g.Records {
		if r.Plan() {
			grown[Plans] = append(grown[Plans], r.Payload...)
			t.Plans++
			continue
		}
		if k := markOf(r.Payload); k != 0 {
			grown[Marks] = append(binary.BigEndian.AppendUint64(grown[Marks], t.Tree.Size()), k)
			t.Marks++
		}
		if j, ok := jobOf(r.Payload); ok {
			j.Index = t.Tree.Size()
			grown[Jobs] = j.encode(grown[Jobs])
			t.Jobs++
		}
		for _, h := range t.Tree.Add(ledger.LeafHash(r.Payload)) {
			grown[Hashes] = append(grown[Hashes], h[:]...)
		}
		grown[Offsets] = binary.BigEndian.AppendUint64(grown[Offsets], uint64(g.At[i]))
	}
	return grown
}

// Set is the open files.
type Set struct {
	dir   string
	disk  durable.Disk
	files [Files]durable.File
}

// Open opens the files in dir and makes those that are missing.
func Open(d durable.Disk, dir string) (*Set, error) {
	s := &Set{dir: dir, disk: d}
	for i := range Files {
		f, err := d.Open(s.Path(i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, errors.Join(durable.Error("open", s.Path(i), err), s.Close())
		}
		s.files[i] = f
	}
	return s, nil
}

// Close closes them.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	s.files = [Files]durable.File{}
	return errors.Join(errs...)
}

// Path is where a file is.
func (s *Set) Path(which File) string { return filepath.Join(s.dir, Names[which]) }

// Grow brings the files up to date after an append, which t then counts. It
// runs after the append's sync only: a hash on disk therefore proves that its
// leaf was durable.
func (s *Set) Grow(t *Totals, g *segment.Group) error {
	at := t.Sizes()
	for i, b := range t.Add(g) {
		if len(b) == 0 {
			continue
		}
		if _, err := s.files[i].WriteAt(b, at[i]); err != nil {
			return durable.Error("write", s.Path(File(i)), err)
		}
	}
	return nil
}

// Cut durably shortens the files to what t counts.
func (s *Set) Cut(t *Totals) error {
	for i, size := range t.Sizes() {
		if err := durable.Truncate(s.files[i], s.Path(File(i)), size); err != nil {
			return err
		}
	}
	return nil
}

// Read fills b with what a file has from a byte on; less is a *CorruptError.
func (s *Set) Read(which File, b []byte, at int64) error {
	if s.files[which] == nil {
		return os.ErrClosed
	}
	_, err := s.files[which].ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		return s.Corrupt(which, at, "it is too short")
	}
	return durable.Error("read", s.Path(which), err)
}

// Corrupt says that a file does not follow from the segments.
func (s *Set) Corrupt(which File, at int64, reason string) error {
	return &segment.CorruptError{Path: s.Path(which), Offset: at, Reason: reason, Remedy: segment.StartAgain}
}

// Positions is where n entries from index from on begin in the log.
func (s *Set) Positions(from uint64, n int) ([]int64, error) {
	b := make([]byte, n*offsetSize)
	err := s.Read(Offsets, b, int64(from)*offsetSize)
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(binary.BigEndian.Uint64(b[i*offsetSize:]))
	}
	return out, err
}

// Leaves are the leaf hashes of n entries from index from on.
func (s *Set) Leaves(from uint64, n int) ([][32]byte, error) {
	first, last := tlog.StoredHashIndex(0, int64(from)), tlog.StoredHashIndex(0, int64(from)+int64(n)-1)
	b := make([]byte, (last-first+1)*tlog.HashSize)
	err := s.Read(Hashes, b, first*tlog.HashSize)
	out := make([][32]byte, n)
	for i := range out {
		at := tlog.StoredHashIndex(0, int64(from)+int64(i)) - first
		out[i] = [32]byte(b[at*tlog.HashSize:])
	}
	return out, err
}

// ReadHashes makes a Set a tlog.HashReader.
func (s *Set) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if err := s.Read(Hashes, out[i][:], x*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TreeAt is the tree of the first n entries.
func (s *Set) TreeAt(n uint64) (*ledger.Tree, error) {
	var indexes []int64
	for left := n; left > 0; {
		level := bits.Len64(left) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64((n-left)>>level)))
		left &^= 1 << level
	}
	peaks, err := s.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	return ledger.NewTree(n, peaks), nil
}
