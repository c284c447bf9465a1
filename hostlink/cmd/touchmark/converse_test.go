package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"touchmark/hostlink/hostd/api"
)

// TestSecondInterrupt: the first Ctrl-C asks to withdraw and says so, the second leaves. The job may be signed then, and
// the exit code must not say that the daemon was not there.
func TestSecondInterrupt(t *testing.T) {
	for _, c := range []struct {
		job  string
		code int
	}{{strings.Repeat("ab", 32), api.MaySigned}, {"", api.Interrupted}} {
		ours, theirs := connected(t)
		d := &daemon{ours, api.NewLines(ours), "socket"}
		said := make(tellings, 4)
		ended := make(chan error, 1)
		go func() {
			_, err := converse(d, &api.Request{Op: api.OpSign}, newProgress(said, false))
			ended <- err
		}()
		there := api.NewLines(theirs)
		hear := func(op string) {
			t.Helper()
			var r api.Request
			if err := there.Read(&r); err != nil || r.Op != op {
				t.Fatalf("request %q, %v", r.Op, err)
			}
		}
		hear(api.OpSign)
		if err := there.Write(&api.Response{Event: &api.Event{State: "touch", Job: c.job}}); err != nil {
			t.Fatal(err)
		}
		said.expect(t, "waiting for the touch") // the job is known by now
		interrupt(t)
		said.expect(t, "cannot be withdrawn")
		hear(api.OpCancel)
		interrupt(t)
		err := <-ended
		if code := codeOf(err); code != c.code {
			t.Errorf("job %q: exit code %d: %v", c.job, code, err)
		}
	}
}

// tellings are the lines of a progress, one by one.
type tellings chan string

func (l tellings) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

func (l tellings) expect(t *testing.T, part string) {
	t.Helper()
	if s := <-l; !strings.Contains(s, part) {
		t.Errorf("said %q, want %q", s, part)
	}
}

// connected gives both ends of a unix socket.
func connected(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l := must(net.Listen("unix", filepath.Join(t.TempDir(), "s")))
	defer func() { _ = l.Close() }()
	ours = must(net.Dial("unix", l.Addr().String()))
	theirs = must(l.Accept())
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

func interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}
