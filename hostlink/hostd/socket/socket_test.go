package socket

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "run", "s")
	l := must(Listen(path, 0o640))
	if st := must(os.Stat(path)); st.Mode().Perm() != 0o640 {
		t.Fatalf("mode %v", st.Mode())
	}
	if _, err := Listen(path, 0o640); err == nil || !strings.Contains(err.Error(), "another touchmark-hostd is running") {
		t.Fatalf("second daemon: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as one that was killed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = must(Listen(path, 0o600))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stale := must(os.Create(path))
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o640); err == nil {
		t.Fatal("a file that is no socket was replaced")
	}
}
