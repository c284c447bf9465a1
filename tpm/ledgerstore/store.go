// Package ledgerstore keeps the log on disk: package segment the records,
// package derived what is made from them; package tiles publishes it, and
// package durable does all writes.
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
//	jobs           what a start must know of intents and outcomes, 66 bytes each
//	base           up to where the five above are durable
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
// A log on a disk that is read-only, full or failing can be opened to be read
// (Options.ReadOnly, package frozen).
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
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/frozen"
	"touchmark/tpm/ledgerstore/segment"
)

// Store is an open log. It is safe for several goroutines.
type Store struct {
	dir  string
	disk durable.Disk
	lock io.Closer

	baseEvery int64

	suspected atomic.Bool // something did not fit: no base is written any more

	mu      sync.RWMutex // guards all below
	opened  bool
	log     *segment.Log
	end     int64 // position after the last whole append
	based   int64 // position of the base on disk, 0 if there is none
	totals  derived.Totals
	derived *derived.Set
	rewinds int
	broken  error // why Append refuses
}

// CorruptError says that the log on disk is damaged in a way no crash causes.
type CorruptError = segment.CorruptError

// ErrExists says that Create found a store, ErrNoStore that Open found none.
var (
	ErrExists  = segment.ErrExists
	ErrNoStore = segment.ErrNone
)

// ErrReadOnly is why a store that was opened to be read only takes nothing.
var ErrReadOnly = errors.New("it was opened to be read only")

// Options are how to open or create a store; the zero value does for all but
// tests and people who want to see how far it is.
type Options struct {
	Disk     durable.Disk            // nil: durable.OS
	Progress func(done, total int64) // of bytes read, when Open has to read a lot

	// ReadOnly opens a log on a disk that takes no writes: what a crash left torn or underived
	// is dropped and derived in memory, the disk stays as it is, and nothing can be appended.
	ReadOnly bool

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
	if o.ReadOnly {
		o.Disk = frozen.On(o.Disk, maxFrozen)
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
	if err := segment.Create(d, dir); err != nil {
		return nil, err
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
	s := &Store{dir: dir, disk: o.Disk, lock: lock, baseEvery: o.baseEvery}
	if err := s.load(o); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.opened = true
	if o.ReadOnly {
		s.broken = ErrReadOnly
	}
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
	if s.derived != nil {
		errs = append(errs, s.derived.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	errs = append(errs, s.lock.Close())
	s.lock, s.broken = nil, os.ErrClosed
	return errors.Join(errs...)
}

// Size is the number of entries.
func (s *Store) Size() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.totals.Tree.Size()
}

// Append adds entries and, if plan is not nil, the plan of a commit that
// covers all entries up to and with these.
func (s *Store) Append(entries [][]byte, plan *anchor.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return fmt.Errorf("the log takes no more until it is opened again: %w", s.broken)
	}
	size := s.totals.Tree.Size() + uint64(len(entries))
	if plan != nil && plan.Size != size {
		return fmt.Errorf("append: a plan of size %d for a log of %d entries", plan.Size, size)
	}
	b, g, err := segment.Encode(entries, plan)
	if err != nil {
		return err
	}
	if err := s.append(b, g); err != nil {
		s.broken = err
		return err
	}
	return nil
}

func (s *Store) append(b []byte, g *segment.Group) error {
	if err := s.log.Write(b, s.end); err != nil {
		return err
	}
	for i := range g.At {
		g.At[i] += s.end
	}
	s.end += int64(len(b))
	if err := s.derived.Grow(&s.totals, g); err != nil {
		return err
	}
	if s.end-s.based > s.baseEvery {
		return s.writeBase()
	}
	return nil
}

// writeBase makes the derived files durable and says so.
func (s *Store) writeBase() error {
	if s.suspected.Load() {
		return nil // the next Open shall read everything
	}
	if err := s.derived.WriteBase(&s.totals, s.end); err != nil {
		return err
	}
	s.based = s.end
	return nil
}

// dropBase has the next Open read everything.
func (s *Store) dropBase() error {
	s.based = 0
	return s.derived.DropBase()
}

// checked has the next Open read everything if an error tells of damage.
func (s *Store) checked(err error) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) && s.opened && s.suspected.CompareAndSwap(false, true) {
		if err := s.derived.RemoveBase(); err != nil {
			return fmt.Errorf("%w (%w)", corrupt, err)
		}
	}
	return err
}
