package ledgerstore

import (
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// TestRewind: whatever was appended in whatever groups, and taken back to
// whatever size, the log is that of the entries that are left, also reopened,
// and grows on as one that never held the others.
func TestRewind(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opt := Options{Disk: disktest.New("/d")}
		s, err := opt.Create(simDir)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			mustAppend(t, s, rapid.IntRange(1, 5).Draw(rt, "entries"), false)
			n := rapid.Uint64Range(0, s.Size()).Draw(rt, "keep")
			if err := s.Rewind(n); err != nil {
				rt.Fatal(err)
			}
			check(t, s, n, 0)
			if rapid.Bool().Draw(rt, "reopen") {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = opt.Open(simDir); err != nil {
					rt.Fatal(err)
				}
				check(t, s, n, 0)
			}
		}
	})
}

// TestRewindOverSegments drops whole segment files too.
func TestRewindOverSegments(t *testing.T) {
	opt := Options{Disk: disktest.New("/d"), segmentSize: 1000}
	s, err := opt.Create(simDir)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, 3, false)
	for s.log.Files() < 3 {
		mustAppend(t, s, 4, false)
	}
	if err := errors.Join(s.Rewind(3), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = opt.Open(simDir); err != nil {
		t.Fatal(err)
	}
	check(t, s, 3, 0)
	if s.log.Files() != 1 {
		t.Fatalf("%d segments left", s.log.Files())
	}
}

// TestCommittedLogIsNotRewound: the appliance's own log only grows.
func TestCommittedLogIsNotRewound(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 2, true)
	mustAppend(t, s, 2, false)
	if err := s.Rewind(2); err == nil {
		t.Fatal("entries of a log with commits were taken back")
	}
	check(t, s, 4, 1)
}

// TestRewindOnFailingDisk lets every call of a rewind fail in turn, not done,
// done and half done, and cuts the power there: the next Open finds at least
// what was to be kept, and nothing that was never there.
func TestRewindOnFailingDisk(t *testing.T) {
	for _, keep := range []uint64{0, 3, 4, 7} { // 3 and 7 end an append
		for _, fault := range disktest.Faults {
			for n := 1; rewindFails(t, keep, fault, n); n++ {
			}
		}
	}
}

// rewindFails is false when a rewind needs fewer calls than n.
func rewindFails(t *testing.T, keep uint64, fault disktest.Fault, n int) bool {
	t.Helper()
	d := disktest.New("/d")
	opt := Options{Disk: d}
	s, err := opt.Create(simDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []int{3, 4, 2, 1} {
		mustAppend(t, s, k, false)
	}
	d.FailAt(n, fault, unix.EIO)
	if err := s.Rewind(keep); d.Pending() {
		if err != nil || s.Size() != keep {
			t.Fatal(err)
		}
		return false
	} // the base that Remove does not find may fail unnoticed
	for seed := range uint64(8) {
		c := d.Clone()
		c.PowerCut(rand.New(rand.NewPCG(seed, 8)).IntN)
		left, err := Options{Disk: c}.Open(simDir)
		if err != nil {
			t.Fatal(err)
		}
		// Half a write of nine bytes loses the append it is in; no crash of a disk that writes sectors does.
		least := keep
		if keep == 4 {
			least = 3
		}
		if left.Size() < least || left.Size() > 10 {
			t.Fatalf("keep %d, call %d, fault %d: %d entries left", keep, n, fault, left.Size())
		}
		check(t, left, left.Size(), 0)
	}
	return true
}

// TestTreeAt rebuilds the tree of every size.
func TestTreeAt(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 33, false)
	for n := range uint64(34) {
		tree, err := s.derived.TreeAt(n)
		if err != nil {
			t.Fatal(err)
		}
		root, err := s.Root(n)
		if err != nil || tree.Root() != root || tree.Size() != n {
			t.Fatalf("tree of %d: %v", n, err)
		}
		var grown ledger.Tree
		for i := range n {
			e, _ := s.Entry(i)
			grown.Add(ledger.LeafHash(e))
		}
		if a, b := tree.Add([32]byte{1}), grown.Add([32]byte{1}); tlog.Hash(a[len(a)-1]) != tlog.Hash(b[len(b)-1]) {
			t.Fatalf("tree of %d grows otherwise", n)
		}
	}
}
