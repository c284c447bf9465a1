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

// TestCopyOfAPipe: what is no file is not waited for.
func TestCopyOfAPipe(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Copy(pipe, filepath.Join(dir, "copy"), io.Discard); !errors.Is(err, ErrMoved) {
		t.Errorf("%v", err)
	}
}
