package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, write := range []func(string, []byte, fs.FileMode) error{WriteFile, Replace} {
		for _, data := range []string{"one", "two, longer", ""} {
			if err := write(path, []byte(data), 0o640); err != nil {
				t.Fatal(err)
			}
			if got := content(t, path); got != data {
				t.Errorf("%q, want %q", got, data)
			}
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if names, _ := OS.List(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	var de *DiskError
	if err := WriteFile(filepath.Join(path, "x"), nil, 0o600); !errors.As(err, &de) {
		t.Errorf("%v", err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), path+".link"); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path+".link", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(path + ".link"); err != nil || !st.Mode().IsRegular() {
		t.Errorf("wrote through a link: %v, %v", st, err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "f")
	if err := WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "x")} {
		var de *DiskError
		if err := MkdirAll(bad, 0o700); !errors.As(err, &de) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	if err := Reserve(dir, 1<<16); err != nil {
		t.Fatal(err)
	}
	if names, err := OS.List(dir); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	if err := Reserve(filepath.Join(dir, "none"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(OS, path, 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	var long *TooLongError
	if _, err := ReadFile(OS, path, 4); !errors.As(err, &long) {
		t.Errorf("%v", err)
	}
	if _, err := ReadFile(OS, path+"x", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// What people read fits a display line or two and says what to do.
func TestErrorsSayWhatToDo(t *testing.T) {
	long := "/var/lib/" + strings.Repeat("very-long/", 12) + "log/log-0000000000000000"
	for err, words := range map[error]string{
		unix.ENOSPC: "make room", unix.EDQUOT: "make room", unix.EIO: "copy the log", unix.EROFS: "read-only", unix.EUCLEAN: "e2fsck", unix.EBADMSG: "e2fsck",
		unix.EFBIG: "limit", unix.EMFILE: "limit", unix.ENFILE: "too many", unix.EACCES: "start as the user", unix.EPERM: "start as the user",
	} {
		text := Error("write", long, fmt.Errorf("x: %w", &fs.PathError{Op: "o", Path: long, Err: err})).Error()
		if !strings.Contains(text, words) || !strings.Contains(text, "log-0000000000000000") || len(text) > 200 || strings.Contains(text, "\n") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
		if !errors.Is(Error("write", long, err), err) {
			t.Errorf("%v is lost", err)
		}
	}
	if Error("x", "y", nil) != nil {
		t.Error("an error of nothing")
	}
	inner := Error("write", "a", unix.EIO)
	if Error("sync", "b", inner) != inner {
		t.Error("wrapped twice")
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := OS.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := OS.Lock(dir); !errors.As(err, &locked) || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = OS.Lock(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OS.Lock(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
