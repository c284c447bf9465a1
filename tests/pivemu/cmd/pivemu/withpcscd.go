package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"touchmark/tests/pivemu/vpcdtest"
)

// withPCSCD runs a command beside a private pcscd. Without a command the reader
// stays until ctx is done.
func withPCSCD(ctx context.Context, args []string, out io.Writer) (code int, err error) {
	f := flag.NewFlagSet("pivemu with-pcscd", flag.ContinueOnError)
	var t tokenFlags
	t.register(f)
	dir := f.String("dir", "", "`DIR` for logs and sockets (default: a temporary one)")
	noToken := f.Bool("no-token", false, "no token: COMMAND brings its own to $VPCD_ADDR")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "pivemu-"); err != nil {
			return 1, err
		}
		defer func() { _ = os.RemoveAll(*dir) }()
	}
	o := vpcdtest.Options{
		NoToken: *noToken, Profile: t.profile, Serial: uint32(t.serial), Touch: t.touch, Timeout: t.timeout,
	}
	if o.Dir, err = filepath.Abs(*dir); err != nil {
		return 1, err
	}
	if t.state != "" {
		if o.State, err = filepath.Abs(t.state); err != nil {
			return 1, err
		}
	}
	if f.NArg() == 0 {
		return 0, hold(ctx, o, out)
	}
	return runBeside(ctx, o, f.Args())
}

// hold keeps a reader until ctx is done, and says how programs find it.
func hold(ctx context.Context, o vpcdtest.Options, out io.Writer) error {
	box, err := vpcdtest.Open(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	var lines strings.Builder
	lines.WriteString("# An emulated token in a reader of its own. In another shell:\n")
	for _, v := range box.Environ() {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(&lines, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	lines.WriteString("# PIN 123456, PUK 12345678. Fingers and faults: pivemu control \"$PIVEMU_CONTROL\" touch\n")
	lines.WriteString("# ykman takes the reader's second slot, which stays empty, for another YubiKey: ykman --reader \"$PIVEMU_READER\" ...\n")
	lines.WriteString("# Ctrl-C here ends it.\n")
	if _, err := io.WriteString(out, lines.String()); err != nil {
		return errors.Join(err, box.Close())
	}
	<-ctx.Done()
	return box.Close()
}

// runBeside runs a command beside a private pcscd; its exit status is ours.
func runBeside(ctx context.Context, o vpcdtest.Options, argv []string) (int, error) {
	cmd, err := vpcdtest.Command(ctx, o, argv...)
	if err != nil {
		return 1, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	if errors.Is(err, syscall.EPERM) {
		return 1, fmt.Errorf("%w: namespaces are not allowed here; be root, or allow them to users", err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
