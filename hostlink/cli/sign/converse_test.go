package sign

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/logtest"
)

// TestSecondInterrupt: the first Ctrl-C asks to withdraw and says so, the second leaves. The job may be signed then, and
// the exit code must not say that the daemon was not there.
func TestSecondInterrupt(t *testing.T) {
	for _, c := range []struct {
		job  string
		code int
	}{{strings.Repeat("ab", 32), api.MaySigned}, {"", api.Interrupted}} {
		l, s := listening(t)
		said, ended := conversation(s)
		there := accepted(t, l)
		there.hear(t, api.OpSign)
		there.say(t, &api.Response{Event: &api.Event{State: "touch", Job: c.job}})
		said.expect(t, "waiting for the touch") // the job is known by now
		interrupt(t)
		said.expect(t, "cannot be withdrawn")
		there.hear(t, api.OpCancel)
		interrupt(t)
		err := <-ended
		if code := api.CodeOf(err, api.Usage); code != c.code {
			t.Errorf("job %q: exit code %d: %v", c.job, code, err)
		}
		if c.job != "" && !strings.HasSuffix(err.Error(), "touchmark fetch "+c.job+" a.db") {
			t.Errorf("it does not say how to go on: %v", err)
		}
	}
}

// TestDaemonComesBack: the same request, key and all, goes to the next daemon, and so does a wish to withdraw it.
func TestDaemonComesBack(t *testing.T) {
	l, s := listening(t)
	s.Return = 2 * time.Minute
	said, ended := conversation(s)
	there := accepted(t, l)
	first := there.hear(t, api.OpSign)
	there.say(t, &api.Response{Event: &api.Event{State: "shown", Job: strings.Repeat("ab", 32)}})
	said.expect(t, "on the appliance")
	there.close(t)
	said.expect(t, "went away")
	there = accepted(t, l)
	if again := there.hear(t, api.OpSign); !bytes.Equal(again.Key, first.Key) || len(again.Key) == 0 {
		t.Fatalf("key %x became %x", first.Key, again.Key)
	}
	interrupt(t)
	there.hear(t, api.OpCancel)
	said.expect(t, "cannot be withdrawn")
	there.close(t)
	said.expect(t, "went away")
	there = accepted(t, l)
	there.hear(t, api.OpSign)
	there.hear(t, api.OpCancel)
	there.say(t, &api.Response{Final: true, Code: api.Interrupted, Error: "withdrawn"})
	there.hear(t, api.OpTaken)
	if err := <-ended; api.CodeOf(err, api.Usage) != api.Interrupted {
		t.Fatal(err)
	}
}

// TestInterruptWithoutDaemon: with nobody to ask, the first Ctrl-C leaves.
func TestInterruptWithoutDaemon(t *testing.T) {
	l, s := listening(t)
	s.Return = time.Hour
	said, ended := conversation(s)
	there := accepted(t, l)
	there.hear(t, api.OpSign)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	there.close(t)
	said.expect(t, "went away")
	interrupt(t)
	said.expect(t, "withdrawing it")
	if err := <-ended; api.CodeOf(err, api.Usage) != api.Interrupted {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T { return logtest.Must(v, err) }

// listening is a daemon's socket and a session with it.
func listening(t *testing.T) (net.Listener, *client.Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l := must(net.Listen("unix", path))
	t.Cleanup(func() { _ = l.Close() })
	s := must(client.Daemon{Socket: path}.Open())
	t.Cleanup(s.Close)
	return l, s
}

func conversation(s *client.Session) (tellings, <-chan error) {
	said, ended := make(tellings, 8), make(chan error, 1)
	req := &api.Request{Op: api.OpSign, Key: []byte("sixteen bytes ..")}
	go func() {
		_, err := converse(s, req, progress.New(said, false), []string{"a.db"})
		ended <- err
	}()
	return said, ended
}

// theirs is the daemon's end of a connection.
type theirs struct {
	net.Conn
	lines *api.Lines
}

func accepted(t *testing.T, l net.Listener) *theirs {
	t.Helper()
	c := must(l.Accept())
	t.Cleanup(func() { _ = c.Close() })
	return &theirs{c, api.NewLines(c)}
}

func (c *theirs) hear(t *testing.T, op string) *api.Request {
	t.Helper()
	r := new(api.Request)
	if err := c.lines.Read(r); err != nil || r.Op != op {
		t.Fatalf("request %q, %v; want %q", r.Op, err, op)
	}
	return r
}

func (c *theirs) say(t *testing.T, r *api.Response) {
	t.Helper()
	if err := c.lines.Write(r); err != nil {
		t.Fatal(err)
	}
}

func (c *theirs) close(t *testing.T) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
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

func interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}
