package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tests/world"
)

// patience bounds each test; a demo takes a few seconds, on a machine with much else to do a minute.
const patience = 5 * time.Minute

// stage is a directory for a demo of the built programs.
type stage struct {
	t   *testing.T
	ctx context.Context
	bin string
	dir string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "build", "bin")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "demo")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &stage{t: t, ctx: ctx, bin: bin, dir: filepath.Join(t.TempDir(), "demo")}
}

func (s *stage) command(verb string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, filepath.Join(s.bin, "demo"), verb, "--dir", s.dir, "--bin", s.bin)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// run runs a demo command to its end and wants it to succeed or fail.
func (s *stage) run(good bool, verb string, env ...string) string {
	s.t.Helper()
	out, err := s.command(verb, env...).CombinedOutput()
	if good != (err == nil) {
		s.t.Fatalf("demo %s %v: %v\n%s", verb, env, err, out)
	}
	return string(out)
}

// shell runs a script that has sourced env.sh.
func (s *stage) shell(script string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.ctx, "bash", "-euc", ". "+filepath.Join(s.dir, "env.sh")+"\n"+script).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// processes are those that have the stage's directory in their command line.
func (s *stage) processes() (pids []int) {
	s.t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(s.dir)) {
			continue // ended meanwhile, or somebody else's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// watch keeps an eye on processes; what it returns wants them to end.
func (s *stage) watch(pids []int) (gone func()) {
	s.t.Helper()
	var waits []unix.PollFd
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = unix.Close(fd) })
		waits = append(waits, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return func() {
		s.t.Helper()
		for i := range waits {
			if n, err := unix.Poll(waits[i:i+1], int(patience.Milliseconds())); n != 1 {
				s.t.Errorf("process %d lives on: %v", pids[i], err)
			}
		}
	}
}

// empty wants nothing of the demo to run any more.
func (s *stage) empty() {
	s.t.Helper()
	if left := s.processes(); len(left) > 0 {
		s.t.Errorf("still running: %v", left)
	}
}

func TestTheStory(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	out := s.run(true, "run", "DEMO_AUTO=1")
	for _, want := range []string{"touch 2 of 2", "pacman took the database", "CLEAN", "entry-altered", "log-truncated", "log-rolled-back", "make demo-up"} {
		if !strings.Contains(out, want) {
			t.Errorf("the story does not tell of %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"repo/demo.db", "repo/demo.db.sig", "repo/demo.db.tar.gz.sig", "repo/demo.files.tar.gz.sig", "cert.asc", "log/checkpoint", "trust/trust", "demo.db.tar.gz.tmproof"} {
		if st, err := os.Stat(filepath.Join(s.dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var audit struct{ Verdict string }
	b, err := os.ReadFile(filepath.Join(s.dir, "audit.json"))
	if err != nil || json.Unmarshal(b, &audit) != nil || audit.Verdict != "clean" {
		t.Errorf("audit.json: %v, %s", err, b)
	}
	s.empty()
	s.run(true, "run", "DEMO_AUTO=1") // over what the first one left
}

// TestInterrupted presses Ctrl-C in the middle and wants everything gone when the demo is.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, chapter := range []string{"2. ", "4. ", "operator: arm", "6. "} {
		cmd := s.command("run", "DEMO_AUTO=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pressed := false
		for in := bufio.NewScanner(out); in.Scan(); {
			if !pressed && strings.Contains(in.Text(), chapter) {
				pressed = true
				if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("interrupted at %q, the demo says all is well", chapter)
		}
		s.empty()
	}
}

// TestKilled kills the demo with a signal that it cannot handle; the kernel then takes its programs.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run(true, "up")
	pids := s.processes()
	if len(pids) < 6 { // demo, swtpm, pivemu, appliance, link, hostd
		t.Fatalf("only %v run", pids)
	}
	holder, err := owner(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	gone := s.watch(pids)
	if err := syscall.Kill(holder, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone()
	s.run(true, "run", "DEMO_AUTO=1") // and the directory is free again
}

func TestUpSignDown(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if out := s.run(false, "up", "DEMO_TOUCH=sometimes"); !strings.Contains(out, "auto, never or ask") {
		t.Errorf("a wrong DEMO_TOUCH: %s", out)
	}
	s.run(true, "up")
	file := filepath.Join(t.TempDir(), "mine.txt")
	if err := os.WriteFile(file, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.shell(fmt.Sprintf("touchmark sign '%[1]s'; touchmark verify '%[1]s'; gpg --verify '%[1]s.sig' '%[1]s'; touchmark publish; touchmark-audit verify \"$TOUCHMARK_LOG\" --trust \"$TOUCHMARK_TRUST\" --proof '%[1]s.tmproof'", file))
	before := s.processes()
	s.shell("gpg-connect-agent /bye") // as gpg starts one where people use it
	agent := slices.DeleteFunc(s.processes(), func(pid int) bool { return slices.Contains(before, pid) })
	if len(agent) == 0 {
		t.Error("no agent was started")
	}
	agentGone := s.watch(agent)
	for _, verb := range []string{"up", "run"} {
		if out := s.run(false, verb, "DEMO_AUTO=1"); !strings.Contains(out, "make demo-down") {
			t.Errorf("a second demo %s: %s", verb, out)
		}
	}
	if out := s.run(true, "down"); !strings.Contains(out, "stopped") {
		t.Errorf("demo down: %s", out)
	}
	agentGone()
	s.empty()
	if out := s.run(true, "down"); !strings.Contains(out, "nothing is running") {
		t.Errorf("demo down again: %s", out)
	}
	if out := s.run(false, "console"); !strings.Contains(out, "make demo-up") {
		t.Errorf("a console of nothing: %s", out)
	}
}

// TestConsoleOfARunningWorld is an operator in another shell (DEMO_TOUCH=ask).
func TestConsoleOfARunningWorld(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run(true, "up", "DEMO_TOUCH=ask")
	console := s.command("console")
	tty, err := pty.StartWithSize(console, &pty.Winsize{Rows: 40, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "asked")
	if err := os.WriteFile(file, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	signed := make(chan string, 1)
	go func() { signed <- s.shell("touchmark sign '" + file + "'") }()
	keys := []struct{ words, key string }{{"a = arm", "a"}, {"t = touch", "t"}, {"1 of 1 signed", "\x03"}}
	var seen []byte
	for buf := make([]byte, 4096); len(keys) > 0; {
		n, err := tty.Read(buf)
		if err != nil {
			t.Fatalf("console: %v\n%s", err, seen)
		}
		seen = append(seen, buf[:n]...)
		if bytes.Contains(seen, []byte(keys[0].words)) {
			if _, err := fmt.Fprint(tty, keys[0].key); err != nil {
				t.Fatal(err)
			}
			keys, seen = keys[1:], nil
		}
	}
	<-signed
	if err := console.Wait(); err != nil {
		t.Errorf("leaving the console: %v", err)
	}
	s.run(true, "down")
	s.empty()
}

func TestNarratorWraps(t *testing.T) {
	var out bytes.Buffer
	n := newNarrator(&out, false)
	n.width = 20
	n.Say("one two three four five six")
	n.Say("a anextremelylongwordwithoutanyspaces")
	const want = "   one two three\n       four five six\n   a\n       anextremelylongwordwithoutanyspaces\n"
	if out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestQuote(t *testing.T) {
	out, err := exec.Command("sh", "-c", "printf %s "+quote(`it's "$HOME" \ `)).Output()
	if err != nil || string(out) != `it's "$HOME" \ ` {
		t.Errorf("%q, %v", out, err)
	}
}

func TestClearDirKeepsTheLock(t *testing.T) {
	dir := t.TempDir()
	l, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := clearDir(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a is still there: %v", err)
	}
	var running *errRunning
	if _, err := takeLock(dir); !errors.As(err, &running) || running.pid != os.Getpid() {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	again, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}

// spoken is a board that keeps what the operator says.
type spoken struct{ lines []string }

func (s *spoken) Views() *world.Views         { return nil }
func (s *spoken) Operator(line string) error  { s.lines = append(s.lines, line); return nil }
func (s *spoken) Touch(context.Context) error { s.lines = append(s.lines, "touch"); return nil }

// Without a person the hands arm an administrators' order once, touch the token once if it asks for that, and leave alone
// what only a person may decide.
func TestHandsArmAnOrder(t *testing.T) {
	s := &spoken{}
	h := &hands{board: s, n: newNarrator(io.Discard, false)}
	o := &operator.Order{ID: strings.Repeat("ab", 32), Kind: "note", Lines: []string{"reason: a test"}}
	for _, ask := range []operator.Ask{operator.AskNothing, operator.AskArm, operator.AskArm, operator.AskUnmirrored, operator.AskTouch, operator.AskTouch} {
		if err := h.see(t.Context(), operator.View{Ask: ask, Order: o}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"arm " + o.ID, "touch"}; !slices.Equal(s.lines, want) {
		t.Errorf("said %q, want %q", s.lines, want)
	}
}

// A person's keys are what the board's own display would make of them.
// TestTooSmallATerminal: what is asked for is room for the display in its frame, and with that it is there.
func TestTooSmallATerminal(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(master.Close(), tty.Close()) }()
	painted := func(cols, rows uint16) string {
		if err := pty.Setsize(master, &pty.Winsize{Cols: cols, Rows: rows}); err != nil {
			t.Fatal(err)
		}
		term := &terminal{out: tty}
		term.face.Show(operator.View{State: "ready", Token: "ready"}, time.Now())
		if err := term.Paint(); err != nil {
			t.Fatal(err)
		}
		return term.last
	}
	for _, size := range [][2]uint16{{47, 16}, {48, 15}} {
		if text := painted(size[0], size[1]); !strings.Contains(text, "Make this terminal 48 by 16 at least.") {
			t.Errorf("%d by %d: %s", size[0], size[1], text)
		}
	}
	if text := painted(48, 16); !strings.Contains(text, "Ready. No request.") {
		t.Errorf("48 by 16: %s", text)
	}
}

func TestKeysAreWords(t *testing.T) {
	job := &operator.Job{ID: strings.Repeat("ab", 32), Class: "demo", State: "touching", Touch: 1}
	idle := operator.View{State: "ready", Token: "ready", Rounds: []operator.Round{{Rule: "core", Files: 1, State: message.RoundWaiting}}}
	for key, c := range map[byte]struct {
		view operator.View
		want string
	}{
		'd': {operator.View{Ask: operator.AskTouch, Job: job}, "deny " + job.ID},
		'o': {idle, "open core"},
	} {
		s := &spoken{}
		h := &hands{board: s, term: &terminal{}}
		h.term.face.Show(c.view, time.Now())
		if err := h.press(t.Context(), key); err != nil || !slices.Equal(s.lines, []string{c.want}) {
			t.Errorf("%c: said %q, want %q (%v)", key, s.lines, c.want, err)
		}
	}
}
