package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A writer renames new files into place, one after another, and removes the one
// before: a copy has the newest, and perhaps the one before it.
func TestSnapshotOfALiveDirectory(t *testing.T) {
	src := filepath.Join(t.TempDir(), "live")
	must(t, os.Mkdir(src, 0o700))
	name := func(i int) string { return filepath.Join(src, fmt.Sprintf("%06d", i)) }
	must(t, os.WriteFile(name(0), []byte("x"), 0o600))
	ended := make(chan error, 1)
	go func() {
		var all error
		for i := 1; i <= 1000 && all == nil; i++ {
			tmp := filepath.Join(src, "new")
			all = errors.Join(os.WriteFile(tmp, []byte("x"), 0o600), os.Rename(tmp, name(i)), os.Remove(name(i-1)))
		}
		ended <- all
	}()
	for i := range 5 {
		dst := filepath.Join(t.TempDir(), fmt.Sprint(i))
		must(t, Snapshot(dst, src))
		names, err := filepath.Glob(filepath.Join(dst, "0*"))
		must(t, err)
		if len(names) < 1 || len(names) > 2 {
			t.Fatalf("copy %d has %v", i, names)
		}
	}
	must(t, <-ended)
}

func TestSnapshotOfNothing(t *testing.T) {
	if err := Snapshot(filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
