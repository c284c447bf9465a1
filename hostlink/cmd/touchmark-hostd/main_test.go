package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"touchmark-hostd": main})
}

// TestScripts covers what keeps the daemon from starting.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's exit takes a second else
			return writeFiles(e.WorkDir)
		},
	})
}

// writeFiles puts a trust file and a host key into dir.
func writeFiles(dir string) error {
	n, err := message.SignNote([]byte("not looked at here\n"))
	if err != nil {
		return err
	}
	private, _ := logtest.NewKey("repo1")
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "trust"), logtest.New(n).TrustText(), 0o600),
		os.WriteFile(filepath.Join(dir, "host.key"), []byte(private+"\n"), 0o600),
	)
}

const configText = `device = "no-such-tty"
state = "state"
trust = "trust"
key = "host.key"
socket = "s"
`

// TestStartAndStop: the program says when it serves, answers although its
// serial device is absent, refuses a second instance, and stops on SIGTERM.
func TestStartAndStop(t *testing.T) {
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "hostd.toml")
	if err := errors.Join(writeFiles(dir), os.WriteFile(path, []byte(configText), 0o600)); err != nil {
		t.Fatal(err)
	}
	start := func() (*exec.Cmd, *bufio.Reader) {
		cmd := exec.CommandContext(t.Context(), "touchmark-hostd", "--config", path)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewReader(out)
	}
	cmd, out := start()
	if line, err := out.ReadString('\n'); err != nil || line != "touchmark-hostd: serving "+filepath.Join(dir, "s")+"\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	second, _ := start()
	if err := second.Wait(); err == nil {
		t.Error("a second daemon on the same state runs")
	}
	if text, err := api.ReadSmall(filepath.Join(dir, "state", "mirror", "log-0000000000000000"), 1<<10); err != nil || len(text) != 0 {
		t.Errorf("mirror %q, %v", text, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
