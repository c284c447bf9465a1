package ledgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// life is a store on a disk in memory, with what it must hold.
type life struct {
	t     *testing.T
	what  string // for messages
	disk  *disktest.Disk
	opt   Options
	s     *Store
	model [][]byte // entries that are certain
	plans []uint64 // sizes of certain plans
	maybe [][]byte // entries of the append that failed last
	plan  bool     // it had one
	least uint64   // fewer entries than model may be left: a rewind failed
	next  uint64   // number of the next entry that is made
}

const simDir = "/d/log"

func newLife(t *testing.T, what string, rng *rand.Rand) *life {
	l := &life{t: t, what: what, disk: disktest.New("/d")}
	// Segments and bases come often, so that few appends see many of them.
	l.opt = Options{Disk: l.disk, segmentSize: int64(200 + rng.IntN(2000)), baseEvery: int64(50 + rng.IntN(1500))}
	return l
}

func (l *life) fatal(format string, a ...any) {
	l.t.Helper()
	l.t.Fatalf("%s: %s", l.what, fmt.Sprintf(format, a...))
}

// open opens or creates; what it finds becomes certain.
func (l *life) open() error {
	s, err := l.opt.Open(simDir)
	if errors.Is(err, ErrNoStore) && len(l.model) == 0 {
		s, err = l.opt.Create(simDir)
	}
	if err != nil {
		return err
	}
	l.s = s
	return nil
}

// settle wants exactly what is certain, with at most the whole last append.
func (l *life) settle() {
	l.t.Helper()
	n := l.s.Size()
	switch with := uint64(len(l.model) + len(l.maybe)); {
	case n == uint64(len(l.model)):
	case n == with:
		l.model = append(l.model, l.maybe...)
		if l.plan {
			l.plans = append(l.plans, n)
		}
	case n >= l.least && n < uint64(len(l.model)):
		l.model = l.model[:n]
	default:
		l.fatal("%d entries where %d, perhaps %d, should be", n, len(l.model), with)
	}
	l.maybe, l.plan, l.least = nil, false, n
	i := 0
	for e, err := range l.s.Entries(0, n) {
		if err != nil || !bytes.Equal(e, l.model[i]) {
			l.fatal("entry %d: %q, want %q, %v", i, e, l.model[i], err)
		}
		i++
	}
	var plans []uint64
	for p, err := range l.s.PlansBackward() {
		if err != nil {
			l.fatal("%v", err)
		}
		plans = append(plans, p.Size)
	}
	if slices.Reverse(plans); !slices.Equal(plans, l.plans) {
		l.fatal("plans %v, want %v", plans, l.plans)
	}
	if err := l.s.Scrub(l.t.Context(), nil); err != nil {
		l.fatal("%v", err)
	}
}

// append adds entries; after an error they may or may not be there.
func (l *life) append(n int, plan bool) error {
	var entries [][]byte
	for range n {
		entries = append(entries, entryBytes(l.next, int(l.next*37%150)))
		l.next++
	}
	var p *anchor.Plan
	size := uint64(len(l.model) + n)
	if plan {
		p = &anchor.Plan{Size: size}
	}
	if err := l.s.Append(entries, p); err != nil {
		l.maybe, l.plan = entries, plan
		return err
	}
	l.model = append(l.model, entries...)
	l.least = size
	if plan {
		l.plans = append(l.plans, size)
	}
	return nil
}

// rewind takes entries back; after an error any number may be left.
func (l *life) rewind(n uint64) error {
	if len(l.plans) > 0 {
		return nil
	}
	// A torn write of nine bytes may take the whole append that n cuts in two.
	l.least = 0
	if err := l.s.Rewind(n); err != nil {
		return err
	}
	l.model, l.least = l.model[:n], n
	return nil
}

func (l *life) step(rng *rand.Rand, plans bool) error {
	if l.s == nil {
		if err := l.open(); err != nil {
			return err
		}
		l.settleQuietly()
	}
	switch k := rng.IntN(12); {
	case k == 0:
		err := l.s.Close()
		l.s = nil
		return err
	case k == 1 && !plans && len(l.model) > 0:
		return l.rewind(rng.Uint64N(uint64(len(l.model) + 1)))
	}
	return l.append(1+rng.IntN(4), plans && rng.IntN(2) == 0)
}

// settleQuietly takes over the size only: a fault may be waiting for a read.
func (l *life) settleQuietly() {
	n := l.s.Size()
	switch {
	case n == uint64(len(l.model)+len(l.maybe)) && len(l.maybe) > 0:
		l.model = append(l.model, l.maybe...)
		if l.plan {
			l.plans = append(l.plans, n)
		}
	case n < uint64(len(l.model)) && n >= l.least:
		l.model = l.model[:n]
	case n != uint64(len(l.model)):
		l.fatal("%d entries where %d should be", n, len(l.model))
	}
	l.maybe, l.plan, l.least = nil, false, n
}

var errnos = []error{unix.EIO, unix.ENOSPC, unix.EROFS}

// accident lets things go well until one of the next calls fails, and then
// kills the process or cuts the power.
func (l *life) accident(rng *rand.Rand, plans bool) {
	fault := disktest.Faults[rng.IntN(len(disktest.Faults))]
	l.disk.FailAt(1+rng.IntN(60), fault, errnos[rng.IntN(len(errnos))])
	for steps := 0; l.disk.Pending() && steps < 40; steps++ {
		if err := l.step(rng, plans); err != nil && l.disk.Pending() {
			l.fatal("%v", err)
		}
	}
	// Nobody has to notice: a failed Remove of a temporary file, or a Close,
	// loses nothing. But whoever noticed does not go on.
	if l.s != nil && l.s.broken != nil && l.s.Append(entriesFrom(0, 1), nil) == nil {
		l.fatal("appended after %v", l.s.broken)
	}
	l.s = nil
	if fault == disktest.Cut || rng.IntN(2) == 0 {
		l.disk.PowerCut(rng.IntN)
	} else {
		l.disk.Kill()
	}
	if rng.IntN(4) == 0 { // what is derived can be lost, too
		name := slices.Concat(derived.Names[:], []string{derived.BaseName})[rng.IntN(int(derived.Files)+1)]
		_ = l.disk.Remove(filepath.Join(simDir, name)) // if it is there
	}
	if rng.IntN(4) == 0 { // an accident at the next start
		l.disk.FailAt(1+rng.IntN(40), fault, unix.EIO)
		if l.open() == nil {
			l.settleQuietly()
			_ = l.s.Close()
		}
		l.s = nil
		l.disk.PowerCut(rng.IntN)
	}
	if err := l.open(); err != nil {
		l.fatal("opened again: %v", err)
	}
	l.settle()
}

// accidents is how many there are in each life, lives how many lives.
const accidents, lives = 3, 3500

// TestSchedules runs random lives with several accidents each: after each of
// them exactly the acknowledged entries are there, plus at most the whole last
// append, and the store goes on.
func TestSchedules(t *testing.T) {
	for part := range uint64(2) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < lives; seed += 2 {
				rng := rand.New(rand.NewPCG(seed, 4))
				l := newLife(t, fmt.Sprintf("seed %d", seed), rng)
				for range accidents {
					l.accident(rng, seed%4 < 2)
				}
			}
		})
	}
}

// A disk that lies about its syncs may lose anything. What is found is a
// beginning of what was written, at the border of an append, or damage that is
// named; and never an entry that was not written.
func TestLyingDisk(t *testing.T) {
	shorter, found := 0, 0
	for seed := range uint64(1500) {
		rng := rand.New(rand.NewPCG(seed, 5))
		l := newLife(t, fmt.Sprintf("seed %d", seed), rng)
		ends := map[uint64]bool{0: true}
		for i := range 12 {
			if i == 3 {
				l.disk.Lie(func() bool { return rng.IntN(3) > 0 })
			}
			if err := l.step(rng, true); err != nil {
				t.Fatal(err)
			}
			ends[uint64(len(l.model))] = true
		}
		l.disk.Lie(nil)
		l.disk.PowerCut(rng.IntN)
		s, err := l.opt.Open(simDir)
		var corrupt *CorruptError
		switch {
		case errors.As(err, &corrupt), errors.Is(err, ErrNoStore):
			found++
			continue
		case err != nil || !ends[s.Size()]:
			t.Fatalf("seed %d: %d entries, %v", seed, s.Size(), err)
		case s.Size() < uint64(len(l.model)):
			shorter++
		}
		i := 0
		for e, err := range s.Entries(0, s.Size()) {
			if errors.As(err, &corrupt) {
				found++
				break
			}
			if err != nil || !bytes.Equal(e, l.model[i]) {
				t.Fatalf("seed %d: entry %d is %q, %v", seed, i, e, err)
			}
			i++
		}
	}
	t.Logf("%d logs shorter, %d with damage that was named", shorter, found)
	if shorter == 0 || found == 0 {
		t.Error("the disk did not lie")
	}
}

// A disk that fills up or becomes read-only stops the store with words that
// say what to do; once there is room it goes on where it was.
func TestFullAndReadOnlyDisk(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 6))
		l := newLife(t, fmt.Sprintf("seed %d", seed), rng)
		for range 5 {
			if err := l.step(rng, true); err != nil {
				t.Fatal(err)
			}
		}
		want, words := error(unix.ENOSPC), "make room"
		if seed%2 == 0 {
			l.disk.Room(int64(rng.IntN(700)))
		} else {
			l.disk.Freeze(true)
			want, words = unix.EROFS, "read-only"
		}
		var err error
		for err == nil {
			err = l.step(rng, true)
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), words) || len(err.Error()) > 300 {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.disk.Room(-1)
		l.disk.Freeze(false)
		l.disk.Kill()
		if err := l.open(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.settle()
	}
}

// The power goes at every call of an append with a plan, a roll and a base,
// with every outcome that the last unsynced writes can have.
func TestEveryCutOfAnAppend(t *testing.T) {
	tries := 0
	for call := 1; ; call++ {
		rng := rand.New(rand.NewPCG(1, 7))
		l := newLife(t, fmt.Sprintf("call %d", call), rng)
		l.opt.segmentSize, l.opt.baseEvery = 300, 300
		if err := errors.Join(l.open(), l.append(3, true)); err != nil {
			t.Fatal(err)
		}
		l.disk.FailAt(call, disktest.Cut, nil)
		err := l.append(2, true)
		done := l.disk.Pending()
		if done != (err == nil) {
			t.Fatalf("call %d: %v", call, err)
		}
		tries += disktest.Every(3000, func(pick func(int) int) {
			c := *l
			c.model, c.plans = slices.Clone(l.model), slices.Clone(l.plans)
			c.disk = l.disk.Clone()
			c.opt.Disk = c.disk
			c.disk.PowerCut(pick)
			if err := c.open(); err != nil {
				t.Fatalf("call %d: %v", call, err)
			}
			c.settle()
		})
		if done {
			break
		}
	}
	t.Logf("%d outcomes", tries)
}
