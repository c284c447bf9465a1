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
//	marks          index and kind of all entries but intents, outcomes and
//	               attestations, 9 bytes each
//	base           up to where the four above are durable
//
// Segments are the truth; everything else is derived from them and makes a
// start, a root or a proof cost O(log n). docs/spec/ledger.md section 3 draws
// every byte.
//
// Guarantees:
//   - Append is one write and one sync. When it returns nil, all of its
//     records are durable; after a crash, all or none of them are there.
//   - Open reads the log behind the base only. It drops at most the last,
//     incomplete append, completes what a crash left underived, and reads
//     everything when something does not fit. Damage before the last append,
//     or the loss of an append that was durable, is a *CorruptError.
//   - An entry is checked against its hash whenever it is read; Scrub reads
//     and checks everything.
//   - Rewind takes back the newest entries of a log without plans.
//   - After an error Append refuses to go on until the store is opened again,
//     which finds out what is on disk.
//
// Assumptions are those of package durable. The checksums find accidents, not
// attackers: those are found by comparing the root with HEAD (package anchor).
//
// The same package serves the appliance's log and the host's mirror, which
// has no plans.
package ledgerstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledgerstore/durable"
)

// Store is an open log. It is safe for several goroutines.
type Store struct {
	dir  string
	disk durable.Disk
	lock io.Closer

	segmentSize, baseEvery int64

	suspected atomic.Bool // something did not fit: no base is written any more

	mu       sync.RWMutex // guards all below
	opened   bool
	segments []segment
	end      int64 // position after the last whole append
	based    int64 // position of the base on disk, 0 if there is none
	totals   totals
	derived  [derivedFiles]durable.File
	rewinds  int
	broken   error // why Append refuses
}

// CorruptError says that the log on disk is damaged in a way no crash causes.
// Its text is one line that fits a display and ends with what to do.
type CorruptError struct {
	Path   string
	Offset int64 // in that file
	Reason string
	Remedy string
}

const (
	startAgain = "start again: then everything is checked, and made good if it can be"
	restore    = "restore this directory from a mirror or a backup"
)

func damaged(path string, at int64, reason string) *CorruptError {
	return &CorruptError{path, at, reason, restore}
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s; %s", durable.Shorten(e.Path), e.Offset, e.Reason, e.Remedy)
}

// ErrExists says that Create found a store.
var ErrExists = errors.New("there is a log already")

// ErrNoStore says that Open found none.
var ErrNoStore = errors.New("there is no log here")

// Options are how to open or create a store; the zero value does for all but
// tests and people who want to see how far it is.
type Options struct {
	Disk     durable.Disk            // nil: durable.OS
	Progress func(done, total int64) // of bytes read, when Open has to read a lot

	segmentSize, baseEvery int64 // 0: as in limits.go
}

// Create makes an empty store in dir, which may exist but must hold none, and
// opens it.
func Create(dir string) (*Store, error) { return Options{}.Create(dir) }

// Open opens the store in dir.
func Open(dir string) (*Store, error) { return Options{}.Open(dir) }

func (o Options) withDefaults() Options {
	if o.Disk == nil {
		o.Disk = durable.OS
	}
	if o.segmentSize == 0 {
		o.segmentSize = segmentSize
	}
	if o.baseEvery == 0 {
		o.baseEvery = baseEvery
	}
	return o
}

// Create is the function of that name.
func (o Options) Create(dir string) (*Store, error) {
	o = o.withDefaults()
	d := o.Disk
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
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, durable.Error("create", segmentPath(dir, 0), err)
	}
	return o.Open(dir)
}

// Open is the function of that name.
func (o Options) Open(dir string) (*Store, error) {
	o = o.withDefaults()
	lock, err := o.Disk.Lock(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoStore)
	}
	if err != nil {
		return nil, durable.Error("open", dir, err)
	}
	s := &Store{dir: dir, disk: o.Disk, lock: lock, segmentSize: o.segmentSize, baseEvery: o.baseEvery}
	if err := s.load(o.Progress); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.opened = true
	return s, nil
}

// Close releases the files and the lock. Nothing is lost without it, but the
// next Open has more to read.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var err error
	if s.broken == nil && s.end > s.based {
		err = s.writeBase()
	}
	return errors.Join(err, s.release())
}

func (s *Store) release() error {
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
	s.lock, s.segments, s.derived = nil, nil, [derivedFiles]durable.File{}
	s.broken = os.ErrClosed
	return errors.Join(errs...)
}

// Size is the number of entries.
func (s *Store) Size() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.totals.tree.Size()
}

// Append adds entries and, if plan is not nil, the plan of a commit that
// covers all entries up to and with these.
func (s *Store) Append(entries [][]byte, plan *anchor.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return fmt.Errorf("the log takes no more until it is opened again: %w", s.broken)
	}
	size := s.totals.tree.Size() + uint64(len(entries))
	if plan != nil && plan.Size != size {
		return fmt.Errorf("append: a plan of size %d for a log of %d entries", plan.Size, size)
	}
	b, g, err := encodeAppend(entries, plan)
	if err != nil {
		return err
	}
	if err := s.append(b, g); err != nil {
		s.broken = err
		return err
	}
	return nil
}

func (s *Store) append(b []byte, g *group) error {
	if err := s.write(b); err != nil {
		return err
	}
	for i := range g.at {
		g.at[i] += s.end
	}
	s.end += int64(len(b))
	if err := s.derive(g); err != nil {
		return err
	}
	if s.end-s.based > s.baseEvery {
		return s.writeBase()
	}
	return nil
}

// write makes b durable at the end of the log.
func (s *Store) write(b []byte) error {
	seg := s.segments[len(s.segments)-1]
	if s.end-seg.start >= s.segmentSize {
		var err error
		if seg, err = s.roll(); err != nil {
			return err
		}
	}
	path := segmentPath(s.dir, seg.start)
	if _, err := seg.file.WriteAt(b, s.end-seg.start); err != nil {
		return durable.Error("write", path, err)
	}
	return durable.Error("sync", path, seg.file.Sync())
}

func (s *Store) roll() (segment, error) {
	path := segmentPath(s.dir, s.end)
	f, err := s.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return segment{}, durable.Error("create", path, err)
	}
	s.segments = append(s.segments, segment{start: s.end, file: f})
	return s.segments[len(s.segments)-1], durable.Error("sync", s.dir, s.disk.SyncDir(s.dir))
}
