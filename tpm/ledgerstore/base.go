package ledgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// A base says up to where the derived files are durable, so that Open reads
// only the log behind it:
//
//	entries u64 | position u64 | plans u64 | marks u64 | root (32) | crc u32
//
// big-endian; the CRC-32C is over all before it. The file is written, whole,
// after the derived files were synced. It is believed only if it fits what is
// on disk.
const (
	baseName = "base"
	baseSize = 4*8 + 32 + 4
)

type base struct {
	entries, plans, marks uint64
	end                   int64
	root                  [32]byte
}

func (b base) encode() []byte {
	var out []byte
	for _, n := range []uint64{b.entries, uint64(b.end), b.plans, b.marks} {
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
	d := base{entries: n(0), end: int64(n(1)), plans: n(2), marks: n(3), root: [32]byte(b[32:])}
	return d, d.entries <= ledger.MaxSize && d.end >= 0 && d.plans <= ledger.MaxSize && d.marks <= ledger.MaxSize
}

func (s *Store) basePath() string { return filepath.Join(s.dir, baseName) }

// writeBase makes the derived files durable and says so.
func (s *Store) writeBase() error {
	if s.suspected.Load() {
		return nil // the next Open shall read everything
	}
	for i, f := range s.derived {
		if err := f.Sync(); err != nil {
			return durable.Error("sync", s.derivedPath(i), err)
		}
	}
	b := base{entries: s.totals.tree.Size(), plans: s.totals.plans, marks: s.totals.marks, end: s.end, root: s.totals.tree.Root()}
	if err := durable.WriteTemp(s.disk, s.basePath(), b.encode(), 0o600); err != nil {
		return err
	}
	if err := durable.RenameTemp(s.disk, s.basePath()); err != nil {
		return err
	}
	s.based = s.end
	return durable.Error("sync", s.dir, s.disk.SyncDir(s.dir))
}

// dropBase has the next Open read everything.
func (s *Store) dropBase() error {
	if err := durable.IgnoreMissing(s.disk.Remove(s.basePath())); err != nil {
		return durable.Error("remove", s.basePath(), err)
	}
	s.based = 0
	return durable.Error("sync", s.dir, s.disk.SyncDir(s.dir))
}

// resume takes over what the base says, if there is one and it fits: the
// segments before its position are there in full, the derived files are long
// enough, their hashes have its root, and the last entry is where offsets says
// and has its hash.
func (s *Store) resume() (fits bool, err error) {
	raw, err := durable.ReadFile(s.disk, s.basePath(), baseSize)
	var long *durable.TooLongError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &long) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b, ok := decodeBase(raw)
	if !ok || b.entries == 0 {
		return false, nil
	}
	if ok, err = s.reaches(b); err != nil || !ok {
		return false, err
	}
	tree, err := s.treeAt(b.entries)
	if err != nil || tree.Root() != b.root {
		return false, unlessCorrupt(err)
	}
	if ok, err := s.endsAt(b); err != nil || !ok {
		return false, err
	}
	s.totals, s.end, s.based = totals{*tree, b.plans, b.marks}, b.end, b.end
	return true, nil
}

// reaches reports whether all files are as long as a base wants them.
func (s *Store) reaches(b base) (bool, error) {
	for i, seg := range s.segments {
		size, err := seg.file.Size()
		if err != nil {
			return false, durable.Error("read", segmentPath(s.dir, seg.start), err)
		}
		last := i == len(s.segments)-1
		if last && seg.start+size < b.end || !last && seg.start+size != s.segments[i+1].start {
			return false, nil
		}
	}
	want := [...]int64{tlog.StoredHashCount(int64(b.entries)) * tlog.HashSize, int64(b.entries) * offsetSize, int64(b.plans) * planSize, int64(b.marks) * markSize}
	for i, f := range s.derived {
		size, err := f.Size()
		if err != nil {
			return false, durable.Error("read", s.derivedPath(i), err)
		}
		if size < want[i] {
			return false, nil
		}
	}
	return true, nil
}

// endsAt reports whether the base's last append is what the log has before the
// base's position, and the last entry has its hash.
func (s *Store) endsAt(b base) (bool, error) {
	pos, err := s.position(b.entries - 1)
	if err != nil {
		return false, err
	}
	w := window{size: readOne}
	r, err := w.record(s, pos)
	if err != nil {
		return false, unlessCorrupt(err)
	}
	hashes, err := s.readHashes([]int64{tlog.StoredHashIndex(0, int64(b.entries)-1)})
	if err != nil || ledger.LeafHash(r.payload) != hashes[0] {
		return false, err
	}
	end := pos + headerSize + int64(len(r.payload))
	if !r.last { // the append's plan
		if r, err = w.record(s, end); err != nil {
			return false, unlessCorrupt(err)
		}
		end += headerSize + int64(len(r.payload))
	}
	return r.last && end == b.end, nil
}

func unlessCorrupt(err error) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return nil
	}
	return err
}
