package tiles

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// edition is a checkpoint to publish.
type edition struct {
	note []byte
	size uint64
}

// Every call of a publication fails in every way, and the process is killed or
// the power cut there: the directory holds the old log or the new one, whole
// and without a gap to pending; and publishing again completes it, so that even
// a power cut which loses everything that was not synced leaves the new one.
func TestPublishSurvives(t *testing.T) {
	for _, sizes := range [][2]int{{5, 7}, {255, 257}, {0, 3}} {
		s, err := ledgerstore.Options{Disk: disktest.New("/d")}.Create("/d/log")
		if err != nil {
			t.Fatal(err)
		}
		var old edition
		if sizes[0] > 0 {
			mustAppend(t, s, sizes[0])
			old = edition{fakeNote(t, s, s.Size()), s.Size()}
			mustAppend(t, s, 1)
		}
		mustAppend(t, s, sizes[1]-int(s.Size()))
		fresh := edition{fakeNote(t, s, s.Size()), s.Size()}
		mustAppend(t, s, 1)
		before := disktest.New("/d")
		if old.size > 0 {
			if err := PublishOn(before, "/d/pub", s, old.note, old.size); err != nil {
				t.Fatal(err)
			}
		}
		for _, fault := range disktest.Faults {
			for call := 1; interrupted(t, before.Clone(), s, old, fresh, fault, call); call++ {
			}
		}
	}
}

// interrupted is false when publishing needs fewer calls than that.
func interrupted(t *testing.T, d *disktest.Disk, s *ledgerstore.Store, old, fresh edition, fault disktest.Fault, call int) bool {
	t.Helper()
	d.FailAt(call, fault, unix.EIO)
	err := PublishOn(d, "/d/pub", s, fresh.note, fresh.size)
	if d.Pending() {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	rng := rand.New(rand.NewPCG(uint64(call), uint64(fault)))
	for try := range 2 {
		c := d.Clone()
		if c.Kill(); try > 0 { // else the process was killed
			c.PowerCut(rng.IntN)
		}
		wantOneOf(t, c, old.size, fresh.size, err == nil)
		c.Kill()
		if err := PublishOn(c, "/d/pub", s, fresh.note, fresh.size); err != nil {
			t.Fatal(err)
		}
		c.PowerCut(func(int) int { return 1 }) // all that can be lost is lost
		wantOneOf(t, c, fresh.size, fresh.size, true)
	}
	return true
}

// wantOneOf wants the old log, which may be none, or else the new one.
func wantOneOf(t *testing.T, d *disktest.Disk, old, fresh uint64, published bool) {
	t.Helper()
	if old == 0 && !published {
		tiles, err := OpenOn(d, "/d/pub")
		if err != nil {
			return // not even a directory
		}
		if _, err := tiles.Checkpoint(); err != nil {
			return // no log yet
		}
	}
	tiles, err := OpenOn(d, "/d/pub")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := verifyTiles(t, tiles); got != fresh && (published || got != old) {
		t.Fatalf("size %d, want %d or %d", got, old, fresh)
	}
}

// What publishing reads and writes depends on what is new, not on the log.
func TestPublishIsIncremental(t *testing.T) {
	cost := func(size int) int {
		s, err := ledgerstore.Options{Disk: disktest.New("/d")}.Create("/d/log")
		if err != nil {
			t.Fatal(err)
		}
		d := disktest.New("/d")
		mustAppend(t, s, size)
		if err := PublishOn(d, "/d/pub", s, fakeNote(t, s, s.Size()), s.Size()); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, s, 3)
		before := d.Calls()
		if err := PublishOn(d, "/d/pub", s, fakeNote(t, s, s.Size()), s.Size()); err != nil {
			t.Fatal(err)
		}
		return d.Calls() - before
	}
	small, large := cost(300), cost(20*256+44)
	if large > small+10 { // one more directory at most
		t.Errorf("3 new entries cost %d calls on a log of 300, %d on one of 5164", small, large)
	}
}
