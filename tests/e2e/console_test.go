package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// screen is a terminal on which the appliance's console runs.
type screen struct {
	t   *testing.T
	pty *os.File

	mu   sync.Mutex // guards what follows
	text []byte     // everything drawn since the last key
	more chan struct{}
}

func (s *screen) read() {
	buf := make([]byte, 1<<14)
	for {
		n, err := s.pty.Read(buf)
		s.mu.Lock()
		s.text = append(s.text, buf[:n]...)
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows waits until the screen has shown the words since the last key.
func (s *screen) shows(ctx context.Context, words ...string) {
	s.t.Helper()
	for {
		s.mu.Lock()
		missing := ""
		for _, w := range words {
			if !bytes.Contains(s.text, []byte(w)) {
				missing = w
			}
		}
		text, more := s.text, s.more
		s.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			s.t.Fatalf("the console never shows %q, but:\n%s", missing, text)
		}
	}
}

// press types keys; what was on screen before does not count from then on.
func (s *screen) press(keys string) {
	s.t.Helper()
	s.mu.Lock()
	s.text = nil
	s.mu.Unlock()
	if _, err := fmt.Fprint(s.pty, keys); err != nil {
		s.t.Fatal(err)
	}
}

// insist presses a key again and again until the screen shows the words: the console does not take an arm key that was
// pressed before anybody can have read the request.
func (s *screen) insist(ctx context.Context, key, words string) {
	s.t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for !s.has(words) {
		if _, err := fmt.Fprint(s.pty, key); err != nil {
			s.t.Fatal(err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			s.t.Fatalf("%q does not lead to %q", key, words)
		}
	}
}

func (s *screen) has(words string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.text, []byte(words))
}

// TestConsole is an operator at the board's own screen: confirms the time, types the PIN, denies a job, arms and touches
// another, and stops the appliance with Ctrl-C.
func TestConsole(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	cmd := r.ConsoleCommand()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 100})
	r.must(err)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &screen{t: t, pty: tty, more: make(chan struct{})}
	go s.read()

	s.shows(r.ctx, "TOUCHMARK", "EMULATED", "y = the time above is right")
	s.press("y")
	s.shows(r.ctx, "type the PIN, then Enter")
	s.press("12345")
	s.shows(r.ctx, "*****")
	s.press("6\r")
	s.shows(r.ctx, "token ready")
	r.must(r.StartHostd(r.ctx))

	f := r.file("refused.bin", 100)
	job := r.ask(nil, f)
	s.shows(r.ctx, "refused.bin", "a = arm")
	s.press("d")
	job.end(api.Denied)

	f = r.file("wanted.bin", 100)
	job = r.ask(nil, f)
	s.shows(r.ctx, "wanted.bin", "a = arm")
	s.insist(r.ctx, "a", "TOUCH THE TOKEN NOW")
	job.touch().end(api.OK)
	r.verified(f)

	s.press("\x03")
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	r.clean()
}
