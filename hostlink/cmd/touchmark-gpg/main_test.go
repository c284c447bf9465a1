package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/gpgcompat/reply"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gpg": main, "gpgconf": main, "touchmark-gpg": main, "touchmark-sign-release": main})
}

// TestScripts runs the command as tools do; testdata/script has the cases.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"daemon": daemon},
	})
}

type logKey struct{}

func must[T any](v T, err error) T { return logtest.Must(v, err) }

var plainNote = must(message.SignNote([]byte("not looked at here\n")))

// setup gives a script a log, its trust file and a key's name.
func setup(e *testscript.Env) error {
	l := logtest.New(plainNote)
	e.Values[logKey{}] = l
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		return err
	}
	e.Defer(func() { _ = os.RemoveAll(dir) })
	trust := filepath.Join(e.WorkDir, "trust")
	for name, value := range map[string]string{
		"TOUCHMARK_TRUST": trust, "TOUCHMARK_SOCKET": filepath.Join(dir, "s"), "KEY": fmt.Sprintf("%X", l.Key.Fingerprint()),
		"GNUPGHOME": filepath.Join(dir, "gnupg"), "LC_ALL": "C.UTF-8", "GPG_TTY": os.DevNull,
		"GORACE": "atexit_sleep_ms=0", // the race detector's exit takes a second else
	} {
		e.Setenv(name, value)
	}
	return errors.Join(os.Mkdir(filepath.Join(dir, "gnupg"), 0o700), os.WriteFile(trust, l.TrustText(), 0o644))
}

// daemon MODE [ARG]: a daemon that answers in that way.
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	l, ok := ts.Value(logKey{}).(*logtest.Log)
	if neg || len(args) < 1 || len(args) > 2 || !ok {
		ts.Fatalf("usage: daemon MODE [ARG]")
	}
	path := ts.Getenv("TOUCHMARK_SOCKET")
	_ = os.Remove(path) // of an earlier daemon in this script
	listener, err := net.Listen("unix", path)
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serve(c, l, append(args, "")[0], append(args, "")[1])
			_ = c.Close()
		}
	}()
	ts.Defer(func() { _ = listener.Close(); <-done })
}

// serve answers one client.
func serve(c net.Conn, l *logtest.Log, mode, arg string) {
	lines, req := api.NewLines(c), api.Request{}
	if lines.Read(&req) != nil {
		return // a client that found its own inputs wrong says nothing
	}
	if req.Op == api.OpMay {
		r := &api.Response{Final: true, OK: mode != "small"}
		if it := req.Items[0]; !r.OK {
			r.Code, r.Error = api.Refused, fmt.Sprintf("the policy refuses: %s: %d bytes, class %s allows 100", it.Name, it.Size, req.Class)
		}
		_ = lines.Write(r)
		return
	}
	r := answer(l, &req)
	switch mode {
	case "swap": // the signatures of a batch exchanged
		slices.Reverse(r.Signatures)
	case "short":
		r.Signatures = r.Signatures[1:]
	case "forge": // a good signature, but by a log that is not pinned
		r = answer(logtest.New(plainNote), &req)
	case "change":
		must(0, os.WriteFile(arg, []byte("other content"), 0o644))
	case "block": // a directory appears where the signature should go
		must(0, os.Mkdir(arg, 0o755))
	case "gone":
		return
	case "fail":
		r = &api.Response{Final: true, Error: "so says the daemon"}
		must(fmt.Sscan(arg, &r.Code))
	}
	_ = lines.Write(r)
}

// answer signs what a request asks for, with intent, commit and proof.
func answer(l *logtest.Log, req *api.Request) *api.Response {
	a := message.Approval{Origin: logtest.Origin, Class: "test", NotAfter: logtest.Noon.Add(time.Hour)}
	must(rand.Read(a.Nonce[:]))
	var states []hashstate.State
	for _, it := range req.Items {
		d := must(message.ParseDigest(it.Digest))
		a.Items = append(a.Items, message.Item{Format: it.Format, Digest: d, Size: it.Size, Name: it.Name})
		if it.Document != nil {
			h := hashstate.New(d.Alg)
			must(h.Write(it.Document))
			it.State = h.State().Bytes()
		}
		states = append(states, must(hashstate.Parse(d.Alg, it.State)))
	}
	i, items := l.Intent(must(message.SignNote(a.Marshal())), plainNote, states)
	l.Commit()
	r := &api.Response{Final: true, OK: true, Job: message.JobOf(a.Marshal()).String()}
	for _, it := range items {
		r.Signatures, r.Proofs = append(r.Signatures, it.Signature), append(r.Proofs, l.Proof(i))
	}
	return r
}

// silent is a daemon that takes a request and never says anything.
func silent(t *testing.T) *client.Session {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Daemon{Socket: filepath.Join(dir, "s")}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); _ = l.Close(); _ = os.RemoveAll(dir) })
	return s
}

// TestNobodyHangs: a daemon that never answers keeps nobody longer than the deadline.
func TestNobodyHangs(t *testing.T) {
	j := &job{p: &program{voice: voice{errs: &strings.Builder{}}}, wait: time.Millisecond, late: time.Millisecond}
	_, err := j.converse(silent(t), &api.Request{Op: api.OpSign})
	if err == nil || api.CodeOf(err, 0) != api.TimedOut || failure(err) != reply.TimedOut || !strings.Contains(err.Error(), "did not answer within 2ms") {
		t.Errorf("%v", err)
	}
}

// TestOtherKeyThanMeant: a signature by a key that the caller did not name is not given out.
func TestOtherKeyThanMeant(t *testing.T) {
	l, other := logtest.New(plainNote), logtest.New(plainNote)
	trust, keys := trustOf(t, l), trustOf(t, other).Keys
	path := filepath.Join(t.TempDir(), "f")
	must(0, os.WriteFile(path, []byte("f"), 0o644))
	call := must(gpgcompat.Parse([]string{"-b", path}))
	j := &job{p: &program{}, trust: trust, ring: reply.NewRing(keys), calls: []*gpgcompat.Call{call}, outs: []*output{{}}}
	if err := j.read(); err != nil {
		t.Fatal(err)
	}
	_, err := j.accept(answer(l, must(j.request())))
	if err == nil || !strings.Contains(err.Error(), "class test signs with key") {
		t.Errorf("%v", err)
	}
	j.ring = reply.NewRing(trust.Keys)
	if _, err := j.accept(answer(l, must(j.request()))); err != nil {
		t.Errorf("%v", err)
	}
}

// TestGpgconfAlone: it names the gpg beside itself, so there must be one.
func TestGpgconfAlone(t *testing.T) {
	dir := t.TempDir()
	must(0, os.Symlink("/proc/self/exe", filepath.Join(dir, "gpgconf")))
	var out strings.Builder
	p := &program{argv0: filepath.Join(dir, "gpgconf"), out: &out}
	if err := p.gpgconf([]string{"--list-components"}); err == nil || !strings.Contains(err.Error(), dir+"/gpg is missing: make it a link to touchmark-gpg") {
		t.Errorf("%v", err)
	}
	must(0, os.Symlink("/proc/self/exe", filepath.Join(dir, "gpg")))
	if err := p.gpgconf([]string{"--list-components"}); err != nil || !strings.Contains(out.String(), "gpg:OpenPGP:"+dir+"/gpg\n") {
		t.Errorf("%v %s", err, out.String())
	}
}

// TestSettingsAreDocumented: docs/tools.md has every environment variable that the programs look at, and no others.
func TestSettingsAreDocumented(t *testing.T) {
	variables := func(pattern string) (found []string) {
		for _, path := range must(filepath.Glob(pattern)) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, v := range regexp.MustCompile(`\bTOUCHMARK_[A-Z_]+`).FindAllString(string(must(os.ReadFile(path))), -1) {
				if !slices.Contains(found, v) {
					found = append(found, v)
				}
			}
		}
		slices.Sort(found)
		return found
	}
	code, page := variables("*.go"), variables("../../../docs/tools.md")
	if len(code) == 0 || !slices.Equal(code, page) {
		t.Errorf("the programs look at\n%s\nthe page has\n%s", code, page)
	}
}

func trustOf(t *testing.T, l *logtest.Log) *verify.Trust {
	t.Helper()
	trust, err := verify.ParseTrust(l.TrustText())
	if err != nil {
		t.Fatal(err)
	}
	return trust
}
