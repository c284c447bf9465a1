package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/vpcdtest"
)

func TestMain(m *testing.M) {
	vpcdtest.Main()
	os.Exit(m.Run())
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pivemu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	_, err := run(ctx, args, &out)
	return out.String(), err
}

// TestServe runs the emulator as the demo does: control it, talk to it, end it.
func TestServe(t *testing.T) {
	dir := shortDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	args := []string{"--state", path("t.json"), "--socket", path("s"), "--control", path("c"), "--log", path("log"),
		"--profile", "5.4.3", "--serial", "4711", "--touch", "ask", "--touch-timeout", "1h"}
	for range 2 { // the second time from the state file
		read, write := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := run(context.Background(), args, write)
			_ = write.CloseWithError(io.EOF)
			ended <- err
		}()
		line, err := bufio.NewReader(read).ReadString('\n')
		if err != nil || line != "ready serial=4711 firmware=5.4.3\n" {
			t.Fatalf("%q, %v, %v", line, err, <-ended)
		}
		conn, err := net.Dial("unix", path("s"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte{0, 1, 4}); err != nil {
			t.Fatal(err)
		}
		atr := make([]byte, 25)
		if _, err := io.ReadFull(conn, atr); err != nil || !strings.Contains(string(atr), "YubiKey") {
			t.Errorf("%x, %v", atr, err)
		}
		status, err := output(t, "control", path("c"), "status")
		if err != nil || status != "serial=4711 firmware=5.4.3 inserted=true mode=ask waiting=false touches=0\n" {
			t.Errorf("%q, %v", status, err)
		}
		if _, err := output(t, "control", path("c"), "mode", "sometimes"); err == nil {
			t.Error("a mode that is none")
		}
		if _, err := output(t, "control", path("c"), "quit"); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, socket := range []string{"s", "c"} {
			if _, err := os.Stat(path(socket)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket %s is left: %v", socket, err)
			}
		}
		args = []string{"--state", path("t.json"), "--socket", path("s"), "--control", path("c"), "--touch", "ask"}
	}
}

func TestRootCommand(t *testing.T) {
	want, err := pivemu.RootPEM()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := output(t, "root"); err != nil || got != string(want) {
		t.Errorf("%s, %v", got, err)
	}
}

// TestUsageErrors: one line that says what is wrong.
func TestUsageErrors(t *testing.T) {
	dir := shortDir(t)
	for _, tt := range []struct{ args, want string }{
		{"", "--help"},
		{"--state x", "--socket, --vpcd or --usb-redir"},
		{"--socket " + dir + "/s dance", `no command "dance"`},
		{"--socket " + dir + "/s --profile 4.2", "use 5.4.3 or 5.7.1"},
		{"--socket " + dir + "/s --touch often", "use auto, never or ask"},
		{"--socket " + dir + "/s --serial 4294967296", "32 bits"},
		{"--socket " + dir + " --serial 1", "not a socket"},
		{"--socket " + dir + "/s --log " + dir, "is a directory"},
		{"--socket " + dir + "/s --state " + dir, "is a directory"},
		{"control " + dir + "/none status", "no such file"},
		{"control " + dir, "usage: pivemu control"},
		{"with-pcscd --dir " + dir + "/none", "no such file"},
		{"with-pcscd --dir " + dir + " --profile 4.2", "use 5.4.3 or 5.7.1"},
		{"with-pcscd --dir " + dir + "/none -- true", "no such file"},
	} {
		_, err := output(t, strings.Fields(tt.args)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}

// TestWithPCSCD: the command sees the reader, and its exit status is ours.
func TestWithPCSCD(t *testing.T) {
	args := strings.Fields("with-pcscd --dir " + shortDir(t) + " --serial 99 --profile 5.4.3 -- sh -c")
	const script = `opensc-tool --list-readers | grep -q "Yes .*$PIVEMU_READER" && [ -S "$PIVEMU_CONTROL" ] && [ -n "$VPCD_ADDR" ] && exit 42`
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if code, err := run(ctx, append(args, script), io.Discard); code != 42 || err != nil {
		t.Errorf("exit status %d, %v", code, err)
	}
}

// TestHold: without a command the reader stays, can be used by what it prints,
// and is gone when it is told to end.
func TestHold(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	held, end := context.WithCancel(ctx)
	read, write := io.Pipe()
	ended := make(chan error, 1)
	dir := shortDir(t)
	go func() {
		_, err := run(held, []string{"with-pcscd", "--dir", dir, "--touch", "ask"}, write)
		_ = write.CloseWithError(io.EOF)
		ended <- err
	}()
	var exports strings.Builder
	for lines := bufio.NewScanner(read); lines.Scan(); {
		exports.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Ctrl-C") {
			break
		}
	}
	use := exports.String() + `opensc-tool --reader "$PIVEMU_READER" --atr && [ -S "$PIVEMU_CONTROL" ]`
	if out, err := exec.CommandContext(ctx, "sh", "-eu", "-c", use).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out, err := exec.CommandContext(ctx, "sh", "-eu", "-c", use).CombinedOutput(); err == nil {
		t.Errorf("the reader is still there: %s", out)
	}
}
