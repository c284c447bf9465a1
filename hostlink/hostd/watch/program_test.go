package watch

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgramLeavesNobody: a child that will not end when it is asked to ends all the same.
func TestProgramLeavesNobody(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "alive") // open as long as a child is
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- program(ctx, []string{"/bin/sh", "-c", `trap "" TERM; sleep 900 >"$ALIVE" 2>&1 & wait`}, []string{"ALIVE=" + fifo}, time.Millisecond)
	}()
	alive, err := os.Open(fifo) // waits for the child
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alive.Close() }()
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ended well")
	}
	over := make(chan error, 1)
	go func() { _, err := io.ReadAll(alive); over <- err }()
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("its child goes on")
	}
}

// TestProgramThatTalks: of what a program says its end is kept, not all.
func TestProgramThatTalks(t *testing.T) {
	err := program(t.Context(), []string{"/bin/sh", "-c", `head -c 3000000 /dev/zero; echo; echo the end >&2; exit 3`}, nil, time.Minute)
	if err == nil || err.Error() != "/bin/sh: exit status 3: the end" {
		t.Errorf("%.200v", err)
	}
	said := new(tail)
	for range 3000 {
		if n, err := said.Write([]byte(strings.Repeat("x", 999) + "\n")); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(said.kept) != tailSize || cap(said.kept) > 8*tailSize || !strings.HasSuffix(string(said.kept), "x\n") {
		t.Errorf("%d bytes, room for %d", len(said.kept), cap(said.kept))
	}
}
