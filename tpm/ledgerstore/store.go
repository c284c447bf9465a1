// Package ledgerstore keeps the log on disk; package tiles publishes it, and
// package durable does its writes.
//
// A store is a directory:
//
//	log-<16 hex>   segments: records of entries and commit plans; the name is
//	               the position of the segment's first byte in the log
//	hashes         Merkle hashes in tlog's stored order, 32 bytes each
//	offsets        position of each entry's record, u64 big-endian
//	plans          the plans again, 72 bytes each
//
// Segments are the truth; the three others are derived from
// them, checked at Open and rebuilt where a crash left them behind.
//
// Guarantees:
//   - Append is one write and one sync. When it returns nil, all of its
//     records are durable; after a crash, all or none of them are there.
//   - Open drops at most the last, incomplete append. Damage before it, or
//     the loss of an append that was durable, is a *CorruptError.
//   - Rewind takes back the newest entries of a log without plans.
//   - After an error Append refuses to go on until the store is opened again,
//     which finds out what is on disk.
//
// Assumptions: the file system keeps what was synced, and a rename within a
// directory is atomic. The checksums find accidents, not attackers: those are
// found by comparing the root with HEAD (package anchor).
//
// The same package serves the appliance's log and the host's mirror, which
// has no plans.
package ledgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// Store is an open log. It is safe for several goroutines.
type Store struct {
	dir  string
	disk disk
	lock io.Closer

	mu       sync.RWMutex // guards all below
	segments []segment
	end      int64 // position after the last whole append
	tree     ledger.Tree
	plans    uint64 // number of plans
	derived  [3]file
	broken   error // why Append refuses
}

type segment struct {
	start int64
	file  file
}

// The derived files, indices into Store.derived.
const (
	hashesFile = iota
	offsetsFile
	plansFile
)

var derivedNames = [3]string{"hashes", "offsets", "plans"}

// CorruptError says that the log on disk is damaged in a way no crash causes.
type CorruptError struct {
	Path   string
	Offset int64 // in that file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s; restore the directory from a mirror or a backup", e.Path, e.Offset, e.Reason)
}

// ErrExists says that Create found a store.
var ErrExists = errors.New("there is a log already")

// ErrNoStore says that Open found none.
var ErrNoStore = errors.New("there is no log here")

// Create makes an empty store in dir, which may exist but must hold none, and
// opens it.
func Create(dir string) (*Store, error) { return create(durable.OS, dir) }

// Open opens the store in dir.
func Open(dir string) (*Store, error) { return open(durable.OS, dir) }

func create(d disk, dir string) (*Store, error) {
	if err := durable.MkdirAllOn(d, dir, 0o755); err != nil {
		return nil, err
	}
	starts, err := listSegments(d, dir)
	if err != nil {
		return nil, err
	}
	if len(starts) > 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	f, err := d.Open(segmentPath(dir, 0), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, diskErr("create", dir, err)
	}
	if err := f.Close(); err != nil {
		return nil, diskErr("create", dir, err)
	}
	for _, up := range []string{dir, filepath.Dir(dir)} {
		if err := d.SyncDir(up); err != nil {
			return nil, diskErr("sync", up, err)
		}
	}
	return open(d, dir)
}

func open(d disk, dir string) (*Store, error) {
	lock, err := d.Lock(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", dir, ErrNoStore)
		}
		return nil, err
	}
	s := &Store{dir: dir, disk: d, lock: lock}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close releases the files and the lock. Nothing is lost without it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var errs []error
	for _, f := range s.derived {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	for _, seg := range s.segments {
		errs = append(errs, seg.file.Close())
	}
	errs = append(errs, s.lock.Close())
	s.lock, s.segments, s.derived = nil, nil, [3]file{}
	s.broken = os.ErrClosed
	return errors.Join(errs...)
}

// Size is the number of entries.
func (s *Store) Size() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tree.Size()
}

// Append adds entries and, if plan is not nil, the plan of a commit that
// covers all entries up to and with these.
func (s *Store) Append(entries [][]byte, plan *anchor.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return fmt.Errorf("the log takes no more until it is opened again: %w", s.broken)
	}
	size := s.tree.Size() + uint64(len(entries))
	if plan != nil && plan.Size != size {
		return fmt.Errorf("append: a plan of size %d for a log of %d entries", plan.Size, size)
	}
	b, offsets, err := encodeAppend(entries, plan)
	if err != nil {
		return err
	}
	if err := s.write(b); err != nil {
		s.broken = err
		return err
	}
	for i := range offsets {
		offsets[i] += s.end
	}
	s.end += int64(len(b))
	if err := s.derive(entries, offsets, plan); err != nil {
		s.broken = err
		return err
	}
	return nil
}

// write makes b durable at the end of the log.
func (s *Store) write(b []byte) error {
	seg := s.segments[len(s.segments)-1]
	if s.end-seg.start >= segmentSize {
		var err error
		if seg, err = s.roll(); err != nil {
			return err
		}
	}
	path := segmentPath(s.dir, seg.start)
	if _, err := seg.file.WriteAt(b, s.end-seg.start); err != nil {
		return diskErr("write", path, err)
	}
	return diskErr("sync", path, seg.file.Sync())
}

func (s *Store) roll() (segment, error) {
	path := segmentPath(s.dir, s.end)
	f, err := s.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return segment{}, diskErr("create", path, err)
	}
	s.segments = append(s.segments, segment{start: s.end, file: f})
	return s.segments[len(s.segments)-1], diskErr("sync", s.dir, s.disk.SyncDir(s.dir))
}

// derive brings the derived files up to date. It runs after the sync only: a
// hash on disk therefore proves that its leaf was durable.
func (s *Store) derive(entries [][]byte, offsets []int64, plan *anchor.Plan) error {
	var hashes, index []byte
	at, first := tlog.StoredHashCount(int64(s.tree.Size())), s.tree.Size()
	for i, e := range entries {
		for _, h := range s.tree.Add(ledger.LeafHash(e)) {
			hashes = append(hashes, h[:]...)
		}
		index = binary.BigEndian.AppendUint64(index, uint64(offsets[i]))
	}
	if err := s.writeDerived(hashesFile, hashes, at*tlog.HashSize); err != nil {
		return err
	}
	if err := s.writeDerived(offsetsFile, index, int64(first)*8); err != nil {
		return err
	}
	if plan == nil {
		return nil
	}
	s.plans++
	return s.writeDerived(plansFile, encodePlan(*plan), int64(s.plans-1)*planSize)
}

func (s *Store) writeDerived(which int, b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	_, err := s.derived[which].WriteAt(b, at)
	return diskErr("write", filepath.Join(s.dir, derivedNames[which]), err)
}

// Entry returns entry i, read from disk and checked.
func (s *Store) Entry(i uint64) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entry(i)
}

func (s *Store) entry(i uint64) ([]byte, error) {
	if i >= s.tree.Size() {
		return nil, fmt.Errorf("entry %d: the log has %d entries", i, s.tree.Size())
	}
	r, seg, at, err := s.record(i)
	if err == nil && r.kind != kindEntry {
		err = &CorruptError{Path: segmentPath(s.dir, seg.start), Offset: at, Reason: fmt.Sprintf("entry %d cannot be read", i)}
	}
	return r.payload, err
}

// recordAt reads and checks one record.
func (s *Store) recordAt(seg segment, at int64) (record, error) {
	path := segmentPath(s.dir, seg.start)
	corrupt := &CorruptError{Path: path, Offset: at, Reason: "a record cannot be read"}
	b := make([]byte, headerSize)
	if _, err := seg.file.ReadAt(b, at); err != nil {
		return record{}, diskErr("read", path, err)
	}
	_, n, ok := parseHeader(b)
	if !ok {
		return record{}, corrupt
	}
	b = append(b, make([]byte, n)...)
	if _, err := seg.file.ReadAt(b[headerSize:], at+headerSize); err != nil {
		return record{}, diskErr("read", path, err)
	}
	r, _, ok := parseRecord(b)
	if !ok {
		return record{}, corrupt
	}
	return r, nil
}

// locate finds the segment of a position in the log.
func (s *Store) locate(pos int64) (segment, int64) {
	i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].start > pos })
	seg := s.segments[max(i-1, 0)]
	return seg, pos - seg.start
}

func (s *Store) readDerived(which int, b []byte, at int64) error {
	if s.derived[which] == nil {
		return os.ErrClosed
	}
	_, err := s.derived[which].ReadAt(b, at)
	return diskErr("read", filepath.Join(s.dir, derivedNames[which]), err)
}

// readHashes is tlog.HashReader on the stored hashes; callers hold the lock.
func (s *Store) readHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if err := s.readDerived(hashesFile, out[i][:], x*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) within(what string, n uint64) error {
	if n > s.tree.Size() {
		return fmt.Errorf("%s %d: the log has %d entries", what, n, s.tree.Size())
	}
	return nil
}

// Root is the Merkle tree hash of the first n entries.
func (s *Store) Root(n uint64) ([32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("root of size", n); err != nil {
		return [32]byte{}, err
	}
	if n == s.tree.Size() {
		return s.tree.Root(), nil
	}
	return tlog.TreeHash(int64(n), tlog.HashReaderFunc(s.readHashes))
}

// Inclusion is the audit path of entry i in the tree of the first n entries,
// the leaf's sibling first (RFC 6962 section 2.1.1).
func (s *Store) Inclusion(i, n uint64) ([][32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("inclusion in size", n); err != nil {
		return nil, err
	}
	if i >= n {
		return nil, fmt.Errorf("entry %d is not among the first %d", i, n)
	}
	p, err := tlog.ProveRecord(int64(n), int64(i), tlog.HashReaderFunc(s.readHashes))
	return arrays(p), err
}

// Consistency proves that the first m entries are a prefix of the first n (RFC
// 6962 section 2.1.2).
func (s *Store) Consistency(m, n uint64) ([][32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.within("consistency with size", n); err != nil {
		return nil, err
	}
	if m < 1 || m > n {
		return nil, fmt.Errorf("size %d is not within 1..%d", m, n)
	}
	p, err := tlog.ProveTree(int64(n), int64(m), tlog.HashReaderFunc(s.readHashes))
	return arrays(p), err
}

func arrays(h []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(h))
	for i := range h {
		out[i] = h[i]
	}
	return out
}

// Plans returns all plans, oldest first.
func (s *Store) Plans() ([]anchor.Plan, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := make([]byte, s.plans*planSize)
	if len(b) == 0 {
		return nil, nil
	}
	if err := s.readDerived(plansFile, b, 0); err != nil {
		return nil, err
	}
	plans := make([]anchor.Plan, s.plans)
	for i := range plans {
		plans[i] = decodePlan(b[i*planSize:])
	}
	return plans, nil
}
