package vpcdtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// newDir is a directory with a file to sign and the root to verify with.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := pivemu.RootPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"root.pem": root, "data": []byte("a message\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func start(t *testing.T, o Options, env []string, argv ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd, err := Command(ctx, o, argv...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Dir, cmd.Env = o.Dir, append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// TestNothingSurvives: what the command leaves running in the background ends
// with it, and its exit status is ours.
func TestNothingSurvives(t *testing.T) {
	t.Parallel()
	o := Options{Dir: newDir(t)}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd, err := Command(ctx, o, "sh", "-c", "sleep 1000 & exit 7")
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{write} // held open by whoever survives
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if err := read.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := read.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("somebody survived: %d, %v", n, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "relative"}} {
		if _, err := Command(context.Background(), o, "true"); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
	if _, err := Command(context.Background(), Options{Dir: t.TempDir()}); err == nil {
		t.Error("no command: accepted")
	}
	o := Options{Dir: t.TempDir(), Profile: "1.0"}
	cmd, out := start(t, o, nil, "true")
	if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), `no firmware profile "1.0"`) {
		t.Errorf("%v: %s", err, out)
	}
}
