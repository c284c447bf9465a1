package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"touchmark/appliance/operator"
)

// bin is the path of a program under test.
func (w *World) bin(name string) string { return filepath.Join(w.Bin, name) }

// board is one life of the appliance, with its operator's panel as lines on pipes.
type board struct {
	*Process
	views *Views
	in    *os.File // the operator's words
}

// startBoard runs the appliance with the given arguments.
func (w *World) startBoard(name string, args ...string) (*board, error) {
	program := "touchmark-appliance-emulated"
	if w.ViaPCSCD {
		program = "touchmark-appliance-pcscd"
	} else {
		args = append(args, "--token-socket", w.TokenSocket())
		if w.Two {
			args = append(args, "--token-socket", w.SpareSocket())
		}
	}
	in, typed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	shown, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), typed.Close())
	}
	argv := append([]string{w.bin(program)}, append(args, "--tpm", w.TPM.Spec(), "--operator", "lines")...)
	p, err := startProcess(w.Logs, name, w.wrapped(name, argv), func(cmd *exec.Cmd) error {
		cmd.Stdin, cmd.Stdout = in, out
		return nil
	})
	err = errors.Join(err, in.Close(), out.Close())
	if err != nil {
		return nil, errors.Join(err, typed.Close(), shown.Close())
	}
	b := &board{Process: p, views: newHistory[operator.View](), in: typed}
	go func() {
		followViews(shown, b.views)
		_ = shown.Close()
	}()
	return b, nil
}

// wrapped is the command line that starts a program.
func (w *World) wrapped(program string, argv []string) []string {
	if w.Wrap == nil {
		return argv
	}
	return w.Wrap(program, argv)
}

// Views is what the operator's panel of the running appliance has shown.
func (w *World) Views() *Views { return w.board.views }

// Operator types one line at the panel: "arm JOB", "deny JOB", "pin DIGITS", "time yes" or "quit".
func (w *World) Operator(line string) error {
	_, err := fmt.Fprintln(w.board.in, line)
	return err
}

// await waits for the panel to show something and explains a failure with the end of the program's log.
func (b *board) await(ctx context.Context, mark int, want func(operator.View) bool) (operator.View, int, error) {
	v, mark, err := b.views.Wait(ctx, mark, want)
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", b.Name, err, b.LogTail())
	}
	return v, mark, err
}

// ConsoleCommand is the appliance with its full-screen console, to be started on a terminal; the world does not know it.
func (w *World) ConsoleCommand() *exec.Cmd {
	return exec.Command(w.bin("touchmark-appliance-emulated"), "run", "--dir", w.Board, "--tpm", w.TPM.Spec(), "--device", w.Cable.BoardPath(), "--token-socket", w.TokenSocket())
}

// TokenSocket is where the emulated token waits for a reader.
func (w *World) TokenSocket() string { return filepath.Join(w.Sockets, "token.sock") }

// SpareSocket is where the second token does.
func (w *World) SpareSocket() string { return filepath.Join(w.Sockets, "spare.sock") }

// TokenLog is where the emulated token writes down each command and answer.
func (w *World) TokenLog() string { return filepath.Join(w.Logs, "token-apdu.log") }

// startSpare starts the second token's emulator.
func (w *World) startSpare(ctx context.Context) (err error) {
	control := filepath.Join(w.Sockets, "spare-control.sock")
	w.second, err = startReady(ctx, w.Logs, "spare", []string{w.bin("pivemu"), "--control", control, "--state", filepath.Join(w.Dir, "spare.json"),
		"--profile", w.Profile, "--touch", w.Touch, "--touch-timeout", w.Window.String(), "--serial", strconv.Itoa(SpareSerial), "--socket", w.SpareSocket()})
	w.Spare = &Token{control: control}
	return err
}

// startToken starts the emulator; its state file makes it the same token again after a restart.
func (w *World) startToken(ctx context.Context) error {
	argv := []string{w.bin("pivemu"), "--control", w.Control, "--state", filepath.Join(w.Dir, "token.json"),
		"--profile", w.Profile, "--touch", w.Touch, "--touch-timeout", w.Window.String(), "--serial", strconv.Itoa(Serial), "--log", w.TokenLog()}
	if w.ViaPCSCD {
		argv = append(argv, "--vpcd", w.VPCD)
	} else {
		argv = append(argv, "--socket", w.TokenSocket())
	}
	if w.USBRedir != "" {
		argv = append(argv, "--usb-redir", w.USBRedir)
	}
	p, err := startReady(ctx, w.Logs, "pivemu", argv)
	if err != nil {
		return err
	}
	w.pivemu, w.Token = p, &Token{control: w.Control}
	if w.ViaPCSCD {
		// pcscd looks for a token now and then only, and may overlook it while a client talks to the empty reader.
		return w.Token.Do(ctx, "wait-power")
	}
	return nil
}

// startReady starts a program that says on stdout when it serves.
func startReady(ctx context.Context, logDir, name string, argv []string) (*Process, error) {
	said, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(logDir, name, argv, func(cmd *exec.Cmd) error {
		cmd.Stdout = theirs
		return nil
	})
	if err = errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(err, said.Close())
	}
	ready := make(chan error, 1)
	go func() {
		_, err := said.Read(make([]byte, 1))
		ready <- err
		_, _ = io.Copy(io.Discard, said) // the rest is for people
		_ = said.Close()
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("%s does not come up: %w\n%s", name, err, p.LogTail())
	}
	return p, nil
}

// Result is how a command line ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Command is one of our programs with the world's environment, in the given directory. A cancelled context interrupts it
// as Ctrl-C would.
func (w *World) Command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.bin(name), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), w.Env()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	return cmd
}

// Run runs one of our programs to its end. An exit code is a result, not an error.
func (w *World) Run(ctx context.Context, dir, name string, args ...string) (Result, error) {
	cmd := w.Command(ctx, dir, name, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := Exited(cmd.Run())
	return Result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}, err
}

// Exited drops the error that says only that a program ended with an exit code other than 0.
func Exited(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return nil
	}
	return err
}

// must runs a program that has to succeed.
func (w *World) must(ctx context.Context, name string, args ...string) (string, error) {
	r, err := w.Run(ctx, "", name, args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s %s: exit code %d: %s", name, strings.Join(args, " "), r.Code, strings.TrimSpace(r.Stdout+r.Stderr))
	}
	return r.Stdout, err
}
