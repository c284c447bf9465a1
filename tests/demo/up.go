package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// readyFD is where serve tells up that the world stands, by readyWord: the first of exec.Cmd's ExtraFiles.
const (
	readyFD   = 3
	readyWord = "ready\n"
)

// serveLog is what serve prints; it outlives the clearing of the directory.
const serveLog = "serve.log"

// touches are the values of DEMO_TOUCH and what they mean.
var touches = map[string]string{
	"auto":  "jobs are armed and touched at once",
	"never": "jobs are armed, but nobody touches: they time out",
	"ask":   "you are the operator: run 'operator' in another shell (a = arm, d = deny, t = touch)",
}

// up starts serve in the background and waits until its world stands.
func up(ctx context.Context, o options) error {
	if o.touch == "" {
		o.touch = "auto"
	}
	if touches[o.touch] == "" {
		return fmt.Errorf("DEMO_TOUCH=%s: it is auto, never or ask", o.touch)
	}
	if err := launch(ctx, o); err != nil {
		return err
	}
	fmt.Printf(`The world is up and stays up: %s.

  . %s
  touchmark sign yourfile              # makes yourfile.sig and yourfile.tmproof
  touchmark verify yourfile
  gpg --verify yourfile.sig yourfile
  touchmark publish                    # waits until the log has it
  touchmark-audit verify "$TOUCHMARK_LOG" --trust "$TOUCHMARK_TRUST"
  make demo-down
`, touches[o.touch], shorten(filepath.Join(o.dir, "env.sh")))
	return nil
}

// launch runs serve as a session of its own, so that it outlives this terminal.
func launch(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(o.dir, serveLog), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "serve", "--dir", o.dir, "--bin", o.bin)
	cmd.Env = append(os.Environ(), "DEMO_TOUCH="+o.touch)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), theirs.Close(), log.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if _, err := io.ReadFull(ready, make([]byte, len(readyWord))); err != nil {
		why, _ := os.ReadFile(log.Name())
		return errors.Join(errors.New("the world does not come up: "+strings.TrimSpace(string(why))), cmd.Wait(), ctx.Err())
	}
	return cmd.Process.Release()
}

// serve is the background process of demo-up: it holds the world until it is told to stop.
func serve(ctx context.Context, o options) (err error) {
	syscall.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	l, err := takeLock(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	if err := clearDir(o.dir); err != nil {
		return err
	}
	w, err := world.Up(ctx, world.Config{Dir: o.dir, Bin: o.bin, Window: touchWindow})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	defer endAgents(filepath.Join(o.dir, "gnupg"))
	if err := writeEnv(ctx, w, o); err != nil {
		return err
	}
	desk, err := openDesk(w)
	if err != nil {
		return err
	}
	defer desk.close()
	h := &hands{board: here{w}, n: newNarrator(os.Stdout, false), idle: o.touch == "never"}
	h.FromNow()
	if _, err := ready.WriteString(readyWord); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	return attend(ctx, h, o)
}

// endAgents ends what people's gpg has started in the world's home and would go on there for ever.
func endAgents(home string) {
	_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() // there may be none
}

// attend is the operator of demo-up until ctx ends.
func attend(ctx context.Context, h *hands, o options) error {
	if o.touch == "ask" {
		<-ctx.Done()
		return nil
	}
	err := h.Attend(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// envText is env.sh: what a shell needs to use the world.
const envText = `# Source this: . %[1]s
export PATH=%[2]s:"$PATH"
export TOUCHMARK_SOCKET=%[3]s
export TOUCHMARK_TRUST=%[4]s
export TOUCHMARK_LOG=%[5]s
export GNUPGHOME=%[6]s
operator() { demo console --dir %[7]s "$@"; }
`

// writeEnv prepares what people use beside the programs: the certificate, a gpg that trusts it, env.sh.
func writeEnv(ctx context.Context, w *world.World, o options) error {
	if err := copyCert(w, o.dir); err != nil {
		return err
	}
	home := filepath.Join(o.dir, "gnupg")
	if _, err := consumers.NewGPG(ctx, io.Discard, home, filepath.Join(o.dir, "cert.asc")); err != nil {
		return err
	}
	path := filepath.Join(o.dir, "env.sh")
	text := fmt.Sprintf(envText, quote(path), quote(o.bin), quote(w.Socket), quote(w.Trust), quote(w.Mirror), quote(home), quote(o.dir))
	return os.WriteFile(path, []byte(text), 0o644)
}

func copyCert(w *world.World, dir string) error {
	b, err := os.ReadFile(filepath.Join(w.Trust, "cert.asc"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cert.asc"), b, 0o644)
}

// quote makes a path one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// shorten shows a path as people would type it from here.
func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
