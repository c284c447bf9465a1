package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExchange: two directories change places; without one of them nothing happens.
func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.Mkdir(a, 0o755), WriteFile(filepath.Join(a, "f"), []byte("of a"), 0o644)); err != nil {
		t.Fatal(err)
	}
	var de *DiskError
	if err := Exchange(a, b); !errors.As(err, &de) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.Mkdir(b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Exchange(a, b), SyncAll(dir)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(b, "f")); got != "of a" {
		t.Errorf("%q", got)
	}
	if names, err := OS.List(a); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	if err := SyncAll(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestOnlyWhatItSeems: what is no file, or no directory, is neither waited for nor followed.
func TestOnlyWhatItSeems(t *testing.T) {
	path := t.TempDir()
	for _, err := range []error{
		unix.Mkfifo(filepath.Join(path, "pipe"), 0o600), os.Mkdir(filepath.Join(path, "dir"), 0o700),
		os.WriteFile(filepath.Join(path, "file"), []byte("content"), 0o666), os.Symlink("dir", filepath.Join(path, "todir")), os.Symlink("file", filepath.Join(path, "tofile")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	to := filepath.Join(path, "to")
	for _, name := range []string{"pipe", "dir", "todir", "tofile", "nothing"} {
		if err := Copy(filepath.Join(path, name), to, io.Discard); !errors.Is(err, ErrMoved) {
			t.Errorf("copy of %s: %v", name, err)
		}
		if _, err := ReadRegular(filepath.Join(path, name), 100); !errors.Is(err, ErrMoved) {
			t.Errorf("read of %s: %v", name, err)
		}
		if err := LinkOrCopyAt(dir, name, to); !errors.Is(err, ErrMoved) {
			t.Errorf("link of %s: %v", name, err)
		}
		if err := IgnoreMissing(os.Remove(to)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pipe", "file", "todir", "tofile", "nothing"} {
		if d, err := OpenDirAt(dir, name); !errors.Is(err, ErrMoved) {
			t.Errorf("%s is opened as a directory: %v, %v", name, d, err)
		}
	}
	for _, name := range []string{"pipe", "file", "dir", "nothing"} {
		if _, err := ReadlinkAt(dir, name); !errors.Is(err, ErrMoved) {
			t.Errorf("%s is read as a link: %v", name, err)
		}
	}
	if target, err := ReadlinkAt(dir, "tofile"); err != nil || target != "file" {
		t.Errorf("%q, %v", target, err)
	}
	if err := LinkOrCopyAt(dir, "file", to); err != nil || content(t, to) != "content" {
		t.Errorf("%v", err)
	}
	if _, err := OpenDir(filepath.Join(path, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
