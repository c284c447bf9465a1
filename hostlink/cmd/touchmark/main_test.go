package main

import (
	"crypto/sha256"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"touchmark": main})
}

// TestScripts runs the command as people do; testdata/script has the cases.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"code": code, "daemon": daemonCmd, "unprivileged": unprivileged, "request": requestCmd, "revoke": revokeCmd},
	})
}

type fixtureKey struct{}

func setup(e *testscript.Env) error {
	f := newFixture()
	e.Values[fixtureKey{}] = f
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		return err
	}
	e.Defer(func() { _ = os.RemoveAll(dir) })
	trust := filepath.Join(e.WorkDir, "trust")
	e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's exit takes a second else
	e.Setenv("TOUCHMARK_TRUST", trust)
	e.Setenv("TOUCHMARK_SOCKET", filepath.Join(dir, "s"))
	if err := newFixture().writeTrust(filepath.Join(e.WorkDir, "other-trust")); err != nil {
		return err
	}
	return f.writeTrust(trust)
}

// code N COMMAND...: runs a command and wants exactly this exit code. "fetch" stands for touchmark fetch of the job that
// the daemon kept. What it
// said is in stdout and stderr.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	if args[1] == "fetch" { // the job whose identity the daemon wrote down
		args = append([]string{args[0], "touchmark", "fetch", ts.ReadFile("job")}, args[2:]...)
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// daemon MODE [ARG]: a daemon that answers in that way (fixture.serve).
func daemonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: daemon MODE [ARG]")
	}
	f, ok := ts.Value(fixtureKey{}).(*fixture)
	if !ok {
		ts.Fatalf("no fixture")
	}
	path := ts.Getenv("TOUCHMARK_SOCKET")
	_ = os.Remove(path) // of an earlier daemon in this script
	l, err := net.Listen("unix", path)
	ts.Check(err)
	arg := ""
	if len(args) == 2 {
		arg = args[1]
	}
	done := make(chan struct{})
	go func() { defer close(done); f.serve(l, args[0], arg) }()
	ts.Defer(func() { _ = l.Close(); <-done })
}

// revoke CODE: the trust file says from now on that the key was revoked, for the reason of this code.
func revokeCmd(ts *testscript.TestScript, _ bool, args []string) {
	f, ok := ts.Value(fixtureKey{}).(*fixture)
	if !ok || len(args) != 1 {
		ts.Fatalf("usage: revoke CODE")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	certs := f.Trust.Certs
	defer func() { f.Trust.Certs = certs }()
	f.Trust.Certs = [][]byte{f.Revoked(certificate.Reason(n))}
	ts.Check(f.writeTrust(ts.Getenv("TOUCHMARK_TRUST")))
}

// request FILE CLASS [--expired] NAME...: what touchmark approvals request writes for these files.
func requestCmd(ts *testscript.TestScript, _ bool, args []string) {
	a := message.Approval{Origin: logtest.Origin, Class: args[1], NotAfter: time.Now().Add(time.Hour)}
	for _, name := range args[2:] {
		if name == "--expired" {
			a.NotAfter = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		text := []byte(ts.ReadFile(name))
		sum := sha256.Sum256(text)
		a.Items = append(a.Items, message.Item{Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: sum[:]}, Size: uint64(len(text)), Name: name})
	}
	n, err := message.SignNote(a.Marshal())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), n, 0o644))
}

// unprivileged N COMMAND...: like code, and file permissions count even if the
// tests run as root.
func unprivileged(ts *testscript.TestScript, neg bool, args []string) {
	if os.Getuid() == 0 {
		args = append([]string{args[0], "setpriv", "--bounding-set=-dac_override,-dac_read_search"}, args[1:]...)
	}
	code(ts, neg, args)
}
