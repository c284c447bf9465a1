package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"touchmark/tests/pivemu/vpcdtest"
)

// withPCSCD runs a command beside a private pcscd; its exit status is ours.
func withPCSCD(ctx context.Context, args []string) (code int, err error) {
	f := flag.NewFlagSet("pivemu with-pcscd", flag.ContinueOnError)
	var t tokenFlags
	t.register(f)
	dir := f.String("dir", "", "`DIR` for logs and sockets (default: a temporary one)")
	noToken := f.Bool("no-token", false, "no token: COMMAND brings its own to $VPCD_ADDR")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	if f.NArg() == 0 {
		return 2, errors.New("usage: pivemu with-pcscd [flags] -- COMMAND…")
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
	cmd, err := vpcdtest.Command(ctx, o, f.Args()...)
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
