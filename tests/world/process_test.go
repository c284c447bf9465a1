package world

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/appliance/operator"
)

// TestStopTakesTheChildrenAlong starts a shell that ignores SIGTERM's polite end for its child and wants both gone.
func TestStopTakesTheChildrenAlong(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(t.TempDir(), "sh", []string{"sh", "-c", "sleep 600 & echo $!; wait"}, func(c *exec.Cmd) error {
		c.Stdout = w
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 32)
	if _, err := r.Read(buf); err != nil { // the child runs
		t.Fatal(err)
	}
	p.Stop()
	// The pipe ends when the last holder of its writing end, the child, is gone.
	if n, err := r.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("read after Stop: %d bytes, %v", n, err)
	}
	if p.Err() == nil {
		t.Error("an ended shell reports no signal")
	}
}

func TestStartReportsAMissingProgram(t *testing.T) {
	if _, err := startProcess(t.TempDir(), "none", []string{"/nonexistent/program"}, nil); err == nil || !strings.Contains(err.Error(), "start none") {
		t.Errorf("got %v", err)
	}
}

func TestGroupRSSOfOurselves(t *testing.T) {
	rss, err := groupRSS(syscall.Getpgrp())
	if err != nil || rss < 1<<20 {
		t.Errorf("rss %d, %v", rss, err)
	}
	if _, err := groupRSS(1 << 30); err == nil {
		t.Error("an absent group has memory")
	}
}

func TestParseStat(t *testing.T) {
	line := "123 (a) b (c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 100 1000 42 18446744073709551615"
	if pages, pgid := parseStat(line); pages != 42 || pgid != 77 {
		t.Errorf("got %d pages, group %d", pages, pgid)
	}
	if pages, pgid := parseStat("1 (x) S"); pages != 0 || pgid != 0 {
		t.Errorf("short line gives %d, %d", pages, pgid)
	}
}

func TestViewsWaitSeesPastAndFuture(t *testing.T) {
	v := newHistory[operator.View]()
	r, w := io.Pipe()
	go followViews(r, v)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	event := func(name string) func(operator.View) bool {
		return func(view operator.View) bool { return view.Event == name }
	}
	if _, err := io.WriteString(w, `{"event":"ready"}`+"\n"+`{"event":"shown"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	_, mark, err := v.Wait(ctx, 0, event("shown"))
	if err != nil || mark != 2 {
		t.Fatalf("mark %d, %v", mark, err)
	}
	done := make(chan error)
	go func() { _, _, err := v.Wait(ctx, mark, event("released")); done <- err }()
	if _, err := io.WriteString(w, `{"event":"released"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, _, err := v.Wait(ctx, v.Mark(), event("never")); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "released") {
		t.Errorf("after the end: %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, _, err := newHistory[operator.View]().Wait(stopped, 0, event("never")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
