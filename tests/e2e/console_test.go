package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"touchmark/appliance/operator"
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

// status waits until the file beside the log says that something is asked: what a display shows that nobody sees any more.
func (r *rig) status(ask operator.Ask) {
	r.t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		raw, err := os.ReadFile(filepath.Join(r.Board, "run", "status.json"))
		r.must(err)
		if strings.Contains(string(raw), `"ask":"`+string(ask)+`"`) {
			return
		}
		select {
		case <-again.C:
		case <-r.ctx.Done():
			r.t.Fatalf("never %q, but %s", ask, raw)
		}
	}
}

// TestConsole is an operator at the board's own screen: confirms the time, types the PIN, denies a job, arms and touches
// another, opens a round and signs what waits in it, and is gone when the board waits for the touch of a last one.
func TestConsole(t *testing.T) {
	t.Parallel()
	repo := t.TempDir()
	staging := filepath.Join(repo, "staging")
	r := newRig(t, world.Config{HostTOML: fmt.Sprintf(watchTOML, staging, filepath.Join(repo, "www"))})
	r.must(os.Mkdir(staging, 0o755))
	r.must(os.WriteFile(filepath.Join(staging, "demo.db.tar.gz"), []byte("a database"), 0o644))
	r.must(r.Enrol(r.ctx))
	cmd := r.ConsoleCommand()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 100})
	r.must(err)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &screen{t: t, pty: tty, more: make(chan struct{})}
	go s.read()

	s.shows(r.ctx, "TOUCHMARK", "EMULATED", "y = yes, right")
	s.press("y")
	s.shows(r.ctx, "type the PIN, then Enter")
	s.press("12345")
	s.shows(r.ctx, "*****")
	s.press("6\r")
	s.shows(r.ctx, "token ready")
	r.must(r.StartHostd(r.ctx))

	f := r.file("refused.bin", 100)
	job := r.ask(nil, f)
	s.shows(r.ctx, "refused.bin", "d = deny")
	s.press("d")
	job.end(api.Denied)
	s.shows(r.ctx, "Not signed: the operator denied it.")
	s.press("\x0c") // forgets what was drawn of it

	f = r.file("wanted.bin", 100)
	job = r.ask(nil, f)
	s.shows(r.ctx, "wanted.bin", "a = arm")
	s.press("a")
	s.shows(r.ctx, "TOUCH THE TOKEN NOW: touch 1 of 1")
	job.touch().end(api.OK)
	r.verified(f)

	// What waits on the host is told as its claim; it comes on display when the operator says so.
	mark := r.Hostd().Log.Mark()
	s.press("\x0c")
	s.shows(r.ctx, "Rounds that wait. The host says:", "> 1. | demo: 1 file since ", "o = open round 1")
	s.press("o")
	s.shows(r.ctx, "claimed name: demo.db.tar.gz", "a = arm")
	s.press("a")
	s.shows(r.ctx, "TOUCH THE TOKEN NOW: touch 1 of 1")
	r.must(r.Token.Touch(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "repository published"))
	r.verified(filepath.Join(repo, "www", "demo.db.tar.gz"))

	// The terminal is pulled while the token waits: denied, recorded, and ended in good order.
	f = r.file("pulled.bin", 100)
	job = r.ask(nil, f)
	s.shows(r.ctx, "pulled.bin", "a = arm")
	s.press("a")
	s.shows(r.ctx, "TOUCH THE TOKEN NOW: touch 1 of 1")
	r.must(tty.Close())
	r.status(operator.AskNoTouch)
	job.touch().end(api.Denied)
	if err := cmd.Wait(); err != nil {
		t.Errorf("a terminal that was pulled: %v", err)
	}
	r.clean()
}

// TestConsoleOfABrokenBoard is an operator before a board that cannot run: its log key is gone. The screen says what is the
// matter and what to do, on every tab, takes neither arm nor PIN, and the program ends in good order when the terminal is
// pulled.
func TestConsoleOfABrokenBoard(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	r.must(os.Remove(filepath.Join(r.Board, "log.key")))
	cmd := r.ConsoleCommand()
	cmd.Env = append(os.Environ(), "TERM=vt100")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	r.must(err)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &screen{t: t, pty: tty, more: make(chan struct{})}
	go s.read()

	s.shows(r.ctx, "*** HALTED: nothing will be signed ***", "log-key-wrong", "restore-log-key", "Tab = more")
	s.press("a123456\r\t\t")
	s.shows(r.ctx, "halted, log-key-wrong", "TPM      not asked")
	s.press("\x0c")
	s.shows(r.ctx, "HALTED: nothing will be signed")
	r.must(tty.Close())
	if err := cmd.Wait(); err != nil {
		t.Errorf("a terminal that was pulled: %v", err)
	}
}
