package ledgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"touchmark/tpm/ledger"
)

// TestRewind: whatever was appended in whatever groups, and taken back to
// whatever size, the log is that of the entries that are left, also reopened,
// and grows on as one that never held the others.
func TestRewind(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := mustCreate(t, filepath.Join(dir, "log"))
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
				s = mustOpen(t, filepath.Join(dir, "log"))
				check(t, s, n, 0)
			}
		}
	})
}

// TestRewindOverSegments drops whole segment files too.
func TestRewindOverSegments(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	big := make([][]byte, 64)
	for i := range big {
		big[i] = make([]byte, ledger.MaxEntry)
	}
	mustAppend(t, s, 3, false)
	for len(s.segments) < 3 {
		if err := s.Append(big, nil); err != nil {
			t.Fatal(err)
		}
	}
	dir := s.dir
	if err := errors.Join(s.Rewind(3), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	check(t, s, 3, 0)
	if len(s.segments) != 1 {
		t.Fatalf("%d segments left", len(s.segments))
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

// TestRewindOnFailingDisk lets every system call of a rewind fail in turn, not
// done and half done: the next Open finds at least what was to be kept, and
// nothing that was never there.
func TestRewindOnFailingDisk(t *testing.T) {
	for _, keep := range []uint64{0, 3, 4, 7} { // 3 and 7 end an append
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				dir := filepath.Join(t.TempDir(), "log")
				s := mustCreate(t, dir)
				for _, k := range []int{3, 4, 2, 1} {
					mustAppend(t, s, k, false)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				d := newFaultDisk(0, after)
				s, err := Options{Disk: d}.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				d.mu.Lock()
				d.failAt = d.calls + n
				d.mu.Unlock()
				err = s.Rewind(keep)
				_ = s.Close()
				if err == nil && !d.dead {
					break // it needs fewer calls than n
				}
				left := mustOpen(t, dir)
				// Half a write of nine bytes loses the append it is in; no crash of a disk that writes sectors does.
				least := keep
				if after && keep == 4 {
					least = 3
				}
				if left.Size() < least || left.Size() > 10 {
					t.Fatalf("keep %d, call %d, after %t: %d entries left", keep, n, after, left.Size())
				}
				check(t, left, left.Size(), 0)
			}
		}
	}
}

// TestTreeAt rebuilds the tree of every size.
func TestTreeAt(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 33, false)
	for n := range uint64(34) {
		tree, err := s.treeAt(n)
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
