//go:build pcscd

package piv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"touchmark/tests/pivemu/front"
	"touchmark/tests/pivemu/vpcdtest"
)

// TestMain runs the tests again inside namespaces with a pcscd of their own.
func TestMain(m *testing.M) {
	vpcdtest.Main()
	if os.Getenv("VPCD_ADDR") != "" {
		os.Exit(m.Run())
	}
	code, err := inside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func inside() (int, error) {
	dir, err := os.MkdirTemp("", "piv")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	args := append([]string{"/proc/self/exe"}, os.Args[1:]...)
	cmd, err := vpcdtest.Command(context.Background(), vpcdtest.Options{Dir: dir, NoToken: true}, args...)
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// attach puts the token into vpcd's reader.
func attach(t *testing.T, port *front.Port) (reader string) {
	t.Helper()
	if err := port.DialVPCD(os.Getenv("VPCD_ADDR")); err != nil {
		t.Fatal(err)
	}
	return "Yubico"
}
