package derived

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/segment"
)

// A base says up to where the derived files are durable, so that a start reads
// only the log behind it:
//
//	entries u64 | position u64 | plans u64 | marks u64 | jobs u64 | root (32) | crc u32
//
// big-endian; the CRC-32C is over all before it. The file is written, whole,
// after the derived files were synced. It is believed only if it fits what is
// on disk.
const (
	BaseName = "base"
	baseSize = 5*8 + 32 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type base struct {
	entries, plans, marks, jobs uint64
	end                         int64
	root                        [32]byte
}

func (b base) encode() []byte {
	var out []byte
	for _, n := range []uint64{b.entries, uint64(b.end), b.plans, b.marks, b.jobs} {
		out = binary.BigEndian.AppendUint64(out, n)
	}
	out = append(out, b.root[:]...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

func decodeBase(b []byte) (base, bool) {
	if len(b) != baseSize || binary.BigEndian.Uint32(b[baseSize-4:]) != crc32.Checksum(b[:baseSize-4], castagnoli) {
		return base{}, false
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	d := base{entries: n(0), end: int64(n(1)), plans: n(2), marks: n(3), jobs: n(4), root: [32]byte(b[40:])}
	return d, d.entries <= ledger.MaxSize && d.end >= 0 && d.plans <= ledger.MaxSize && d.marks <= ledger.MaxSize && d.jobs <= ledger.MaxSize
}

func (s *Set) basePath() string { return filepath.Join(s.dir, BaseName) }

// WriteBase makes the files durable and says so: they hold what t counts, of
// the log up to position end.
func (s *Set) WriteBase(t *Totals, end int64) error {
	for i, f := range s.files {
		if err := f.Sync(); err != nil {
			return durable.Error("sync", s.Path(File(i)), err)
		}
	}
	b := base{entries: t.Tree.Size(), plans: t.Plans, marks: t.Marks, jobs: t.Jobs, end: end, root: t.Tree.Root()}
	if err := durable.WriteTemp(s.disk, s.basePath(), b.encode(), 0o600); err != nil {
		return err
	}
	if err := durable.RenameTemp(s.disk, s.basePath()); err != nil {
		return err
	}
	return durable.Error("sync", s.dir, s.disk.SyncDir(s.dir))
}

// RemoveBase has the next start read everything, as far as the disk lets it.
func (s *Set) RemoveBase() error {
	return durable.Error("remove", s.basePath(), durable.IgnoreMissing(s.disk.Remove(s.basePath())))
}

// DropBase is RemoveBase, durably.
func (s *Set) DropBase() error {
	if err := s.RemoveBase(); err != nil {
		return err
	}
	return durable.Error("sync", s.dir, s.disk.SyncDir(s.dir))
}

// Base is what the base says, if there is one and it fits the files: they are
// long enough, and their hashes have its root. Else t is nil.
func (s *Set) Base() (t *Totals, end int64, err error) {
	raw, err := durable.ReadFile(s.disk, s.basePath(), baseSize)
	var long *durable.TooLongError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &long) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	b, ok := decodeBase(raw)
	if !ok || b.entries == 0 {
		return nil, 0, nil
	}
	t = &Totals{Tree: *ledger.NewTree(b.entries, nil), Plans: b.plans, Marks: b.marks, Jobs: b.jobs}
	for i, want := range t.Sizes() {
		size, err := s.files[i].Size()
		if err != nil {
			return nil, 0, durable.Error("read", s.Path(File(i)), err)
		}
		if size < want {
			return nil, 0, nil
		}
	}
	tree, err := s.TreeAt(b.entries)
	if err != nil || tree.Root() != b.root {
		return nil, 0, segment.UnlessCorrupt(err)
	}
	t.Tree = *tree
	return t, b.end, nil
}
