package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// guarded is a staging directory with a directory in it, and one elsewhere that is nobody's business.
func guarded(t *testing.T) (r *Repository, pool, elsewhere string) {
	t.Helper()
	r = inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	pool = filepath.Join(r.Dir, "pool")
	put(t, filepath.Join(pool, "deep", "a.pkg"), "package")
	elsewhere = filepath.Join(filepath.Dir(r.Dir), "elsewhere")
	put(t, filepath.Join(elsewhere, "secret"), "secret")
	put(t, filepath.Join(elsewhere, "deep", "secret"), "secret")
	return r, pool, elsewhere
}

// never wants that nothing of elsewhere is in a directory.
func never(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "secret" {
			t.Fatalf("%s was taken", path)
		}
		return durable.IgnoreMissing(err)
	})
	must(t, err)
}

// TestSwappedWhileTaken: who puts a link, a pipe or a file into the place of a directory at the moment in which it is
// opened has nothing taken that is elsewhere, and keeps nobody waiting.
func TestSwappedWhileTaken(t *testing.T) {
	for name, swap := range map[string]func(pool, elsewhere string) error{
		"a link":            func(pool, elsewhere string) error { return os.Symlink(elsewhere, pool) },
		"a relative link":   func(pool, _ string) error { return os.Symlink("../elsewhere", pool) },
		"a link to nothing": func(pool, _ string) error { return os.Symlink("nothing", pool) },
		"a pipe":            func(pool, _ string) error { return unix.Mkfifo(pool, 0o644) },
		"a file":            func(pool, _ string) error { return os.WriteFile(pool, []byte("x"), 0o644) },
		"nothing":           func(string, string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r, pool, elsewhere := guarded(t)
			r.step = func(step string) {
				if _, err := os.Lstat(pool + ".away"); step != "directory" || err == nil {
					return
				}
				must(t, errors.Join(os.Rename(pool, pool+".away"), swap(pool, elsewhere)))
			}
			if _, _, err := r.Snapshot(1); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "pool") {
				t.Errorf("%v", err)
			}
			never(t, r.base())
		})
	}
}

// TestSwappedAllTheTime: a directory is exchanged with a link and a file with another, as fast as that goes, while one
// snapshot is taken after the other: none has anything in it that is elsewhere.
func TestSwappedAllTheTime(t *testing.T) {
	r, pool, elsewhere := guarded(t)
	link, file := filepath.Join(filepath.Dir(r.Dir), "link"), filepath.Join(filepath.Dir(r.Dir), "file")
	must(t, errors.Join(os.Symlink(elsewhere, link), os.Symlink(filepath.Join(elsewhere, "secret"), file)))
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_ = durable.Exchange(pool, link) // one of them is always there
				_ = durable.Exchange(filepath.Join(pool, "deep", "a.pkg"), file)
			}
		}
	}()
	taken := 0
	for n := range uint64(60) {
		items, _, err := r.Snapshot(n + 1)
		if err != nil && !errors.Is(err, ErrMoved) {
			t.Fatal(err)
		}
		if err == nil {
			taken++
			must(t, r.Publish(n+1, items, fakeSignature))
			links(t, r.Into, elsewhere)
		}
		never(t, r.base())
		never(t, r.Into)
	}
	close(stop)
	<-ended
	t.Logf("%d snapshots", taken)
}

// links wants that no file has the content of what is elsewhere, but for links that were published as they are.
func links(t *testing.T, dir, elsewhere string) {
	t.Helper()
	secret, err := os.Stat(filepath.Join(elsewhere, "secret"))
	must(t, err)
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if st, err := e.Info(); err != nil || os.SameFile(st, secret) {
			t.Errorf("%s is the secret file, %v", path, err)
		}
		return nil
	}))
}

// TestNestedTooDeep: directories in one another end somewhere.
func TestNestedTooDeep(t *testing.T) {
	r, pool, _ := guarded(t)
	put(t, filepath.Join(pool, strings.Repeat("d/", maxDepth), "x"), "x")
	if _, _, err := r.Snapshot(1); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("%v", err)
	}
}

// TestPermissions: what others may write in staging, they may not in what is published; what they may read, they may.
func TestPermissions(t *testing.T) {
	r, pool, _ := guarded(t)
	db := filepath.Join(r.Dir, "core.db.tar.gz")
	must(t, errors.Join(os.Chmod(r.Dir, 0o777), os.Chmod(pool, 0o775), os.Chmod(db, 0o666)))
	must(t, r.Publish(1, snapshot(t, r, 1), fakeSignature))
	for path, want := range map[string]fs.FileMode{"": 0o755, "pool": 0o755, "core.db.tar.gz": 0o644} {
		if st, err := os.Stat(filepath.Join(r.Into, path)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, st.Mode(), err, want)
		}
	}
}

// TestPipeForALock: what stands where a lock was is nobody's to wait for.
func TestPipeForALock(t *testing.T) {
	r, _, elsewhere := guarded(t)
	must(t, unix.Mkfifo(r.Lock, 0o644))
	must(t, r.Unlock())
	if _, _, err := r.Snapshot(1); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(r.Lock))
	mine := filepath.Join(elsewhere, "mine")
	put(t, mine, r.lockText())
	must(t, os.Symlink(mine, r.Lock))
	must(t, r.Unlock())
	must(t, os.Remove(r.Lock))
	put(t, r.Lock, strings.Repeat("x", maxMarker+1))
	must(t, r.Unlock())
	if _, err := os.Lstat(r.Lock); err != nil {
		t.Errorf("somebody else's lock was removed: %v", err)
	}
}

// TestForm: another rule makes another look of the same files.
func TestForm(t *testing.T) {
	r, _, _ := guarded(t)
	seen := map[string]bool{}
	for i, change := range []func(){
		func() {}, func() { r.Sign[0].Armor = true }, func() { r.Skip = nil }, func() { r.Sign[0].Alg = "sha512" }, func() { r.Sign[0].As = "x" },
	} {
		change()
		look, err := r.Look()
		must(t, err)
		if key := fmt.Sprint(look, r.Form()); seen[look] || seen[r.Form()] || look == "" {
			t.Errorf("change %d is not seen: %s", i, key)
		}
		seen[look], seen[r.Form()] = true, true
	}
}
