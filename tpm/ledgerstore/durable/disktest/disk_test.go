package disktest

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, d *Disk, path string) durable.File {
	t.Helper()
	f, err := d.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	return f
}

func put(t *testing.T, f durable.File, text string, at int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(text), at)
	must(t, err)
}

// outcomes are all contents of a file that power cuts can leave.
func outcomes(t *testing.T, d *Disk, path string) (seen []string) {
	t.Helper()
	Every(1000, func(pick func(int) int) {
		c := d.Clone()
		c.PowerCut(pick)
		b, err := durable.ReadFile(c, path, 100)
		text := string(b)
		if errors.Is(err, os.ErrNotExist) {
			text = "-"
		} else {
			must(t, err)
		}
		if !slices.Contains(seen, text) {
			seen = append(seen, text)
		}
	})
	slices.Sort(seen)
	return seen
}

func TestPowerCutLeavesWhatWasSynced(t *testing.T) {
	d := New("/d")
	f := open(t, d, "/d/f")
	put(t, f, "abcd", 0)
	must(t, f.Sync())
	if got := outcomes(t, d, "/d/f"); !slices.Equal(got, []string{"-", "abcd"}) {
		t.Errorf("a name that is not synced: %q", got)
	}
	must(t, d.SyncDir("/d"))
	put(t, f, "XY", 1)
	if got := outcomes(t, d, "/d/f"); !slices.Equal(got, []string{"aXYd", "aXcd", "abYd", "abcd"}) {
		t.Errorf("a write that is not synced: %q", got)
	}
	must(t, f.Sync())
	if got := outcomes(t, d, "/d/f"); !slices.Equal(got, []string{"aXYd"}) {
		t.Errorf("after the sync: %q", got)
	}
	must(t, durable.WriteTemp(d, "/d/f", []byte("new"), 0o600), durable.RenameTemp(d, "/d/f"))
	if got := outcomes(t, d, "/d/f"); !slices.Equal(got, []string{"aXYd", "new"}) {
		t.Errorf("a rename that is not synced: %q", got)
	}
}

// After a failed sync a second one does not help, a second write does.
func TestFailedSync(t *testing.T) {
	d := New("/d")
	f := open(t, d, "/d/f")
	must(t, d.SyncDir("/d"))
	put(t, f, "a", 0)
	d.FailAt(1, NotApplied, unix.EIO)
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	must(t, f.Sync())
	if got := outcomes(t, d, "/d/f"); !slices.Contains(got, "") {
		t.Errorf("%q", got)
	}
	put(t, f, "a", 0)
	must(t, f.Sync())
	if got := outcomes(t, d, "/d/f"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q", got)
	}
}

func TestFullFrozenLying(t *testing.T) {
	d := New("/d")
	f := open(t, d, "/d/f")
	d.Room(3)
	if n, err := f.WriteAt([]byte("abcde"), 0); n != 3 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
	put(t, f, "ABC", 0) // what is there can be written over
	d.Room(-1)
	d.Freeze(true)
	for _, err := range []error{f.Truncate(0), d.Mkdir("/d/e", 0), d.Remove("/d/f"), d.Rename("/d/f", "/d/g")} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%v", err)
		}
	}
	d.Freeze(false)
	must(t, f.Sync(), d.SyncDir("/d"))
	d.Lie(func() bool { return true })
	put(t, f, "xyz", 0)
	must(t, f.Sync())
	if got := outcomes(t, d, "/d/f"); !slices.Contains(got, "ABC") {
		t.Errorf("%q", got)
	}
}

func TestEvery(t *testing.T) {
	var seen [][3]int
	n := Every(100, func(pick func(int) int) {
		a := pick(2)
		s := [3]int{a, pick(3), 0}
		if a == 1 {
			s[2] = pick(2)
		}
		seen = append(seen, s)
	})
	if n != 9 || len(seen) != 9 || seen[8] != [3]int{1, 2, 1} {
		t.Errorf("%d: %v", n, seen)
	}
	if n := Every(4, func(pick func(int) int) { pick(100) }); n != 4 {
		t.Errorf("%d of 4", n)
	}
}

// Whoever intercepts sees the calls that change something, and decides.
func TestIntercept(t *testing.T) {
	d := New("/d")
	var seen []string
	d.Intercept(func(c Call) (Fault, error) {
		if !c.Changes {
			return NotApplied, nil
		}
		seen = append(seen, c.Op+" "+c.Path)
		switch len(seen) {
		case 2:
			return Torn, unix.ENOSPC
		case 4:
			return Cut, nil
		}
		return NotApplied, nil
	})
	f, err := d.Open("/d/f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("abcd"), 0); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a torn write: %v", err)
	}
	if n, err := f.Size(); n != 2 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := d.SyncDir("/d"); !errors.Is(err, ErrPower) {
			t.Errorf("after the power is cut: %v", err)
		}
	}
	want := []string{"open /d/f", "write /d/f", "sync /d/f", "syncdir /d"}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}
