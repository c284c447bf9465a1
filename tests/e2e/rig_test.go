// Package e2e runs the real programs against each other on emulated hardware: every test brings up a world of its own,
// does with it what people and accidents do, and asks the clients, the consumers and the auditor what came of it.
package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/consumers"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
)

// patience bounds each test: many times what one takes, so that it means a hang.
const patience = 5 * time.Minute

// rig is a world under test.
type rig struct {
	*world.World
	t    *testing.T
	ctx  context.Context
	work string // where files to be signed are made
}

// binDir is where the programs under test were built: the Makefile says, or the usual place.
func binDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TOUCHMARK_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "build", "bin")
	}
	if _, err := os.Stat(filepath.Join(dir, "touchmark-appliance-emulated")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return dir
}

// newRig starts the hardware; the test decides what comes up.
func newRig(t *testing.T, cfg world.Config) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cfg.Dir, cfg.Bin = t.TempDir(), binDir(t)
	w, err := world.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{World: w, t: t, ctx: ctx, work: t.TempDir()}
	t.Cleanup(r.end)
	return r
}

// up brings up a whole world.
func up(t *testing.T, cfg world.Config) *rig {
	t.Helper()
	r := newRig(t, cfg)
	r.must(r.Enrol(r.ctx))
	r.must(r.StartAppliance(r.ctx))
	r.must(r.StartHostd(r.ctx))
	return r
}

// faulty is a world whose TPM can be made to fail.
func faulty(t *testing.T) *rig {
	t.Helper()
	return up(t, world.Config{TPM: swtpm.Start(t)})
}

func (r *rig) end() {
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
	if !r.t.Failed() {
		return
	}
	logs, err := filepath.Glob(filepath.Join(r.Logs, "*.log"))
	if err != nil {
		r.t.Error(err)
	}
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil && !strings.HasPrefix(filepath.Base(path), "token-apdu") {
			r.t.Logf("%s:\n%s", filepath.Base(path), b)
		}
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// file makes a file of random bytes to be signed; what was signed under that name before is gone.
func (r *rig) file(name string, size int) string {
	r.t.Helper()
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	path := filepath.Join(r.work, name)
	for _, suffix := range []string{".sig", ".tmproof"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	r.must(os.WriteFile(path, b, 0o644))
	return path
}

// signing is one running touchmark sign.
type signing struct {
	r     *rig
	files []string
	mark  int // of the operator's panel
	done  chan world.Result
}

// ask starts touchmark sign with flags and files.
func (r *rig) ask(flags []string, files ...string) *signing {
	r.t.Helper()
	return r.asking(append([]string{"sign"}, flags...), files...)
}

// asking starts a command of touchmark's that has something signed.
func (r *rig) asking(words []string, files ...string) *signing {
	r.t.Helper()
	s := &signing{r: r, files: files, done: make(chan world.Result, 1)}
	if r.Appliance() != nil {
		s.mark = r.Views().Mark()
	}
	go func() {
		res, err := r.Run(r.ctx, r.work, "touchmark", append(slices.Clone(words), files...)...)
		if err != nil {
			res = world.Result{Code: -1, Stderr: err.Error()}
		}
		s.done <- res
	}()
	return s
}

// view waits until the panel shows what is wanted, from where this signing has got to.
func (s *signing) view(want func(operator.View) bool) operator.View {
	s.r.t.Helper()
	v, mark, err := s.r.Views().Wait(s.r.ctx, s.mark, want)
	s.r.must(err)
	s.mark = mark
	return v
}

func asks(what operator.Ask) func(operator.View) bool {
	return func(v operator.View) bool { return v.Ask == what }
}

// shown waits for the job to be on display and returns its identity.
func (s *signing) shown() string {
	s.r.t.Helper()
	return s.view(asks(operator.AskArm)).Job.ID
}

// arm arms the job once it is shown.
func (s *signing) arm() *signing {
	s.r.t.Helper()
	s.r.must(s.r.Operator("arm " + s.shown()))
	return s
}

// touch touches the token once for each file.
func (s *signing) touch() *signing {
	s.r.t.Helper()
	for range s.files {
		s.r.must(s.r.Token.Touch(s.r.ctx))
	}
	return s
}

// end waits for the client and wants the exit code.
func (s *signing) end(code int) world.Result {
	s.r.t.Helper()
	select {
	case res := <-s.done:
		if res.Code != code {
			s.r.t.Errorf("touchmark sign: exit code %d, want %d\n%s%s", res.Code, code, res.Stdout, res.Stderr)
		}
		return res
	case <-s.r.ctx.Done():
		s.r.t.Fatal("touchmark sign hangs")
		panic("unreachable")
	}
}

// sign is the whole good way; every file must come out signed and proved.
func (r *rig) sign(flags []string, files ...string) {
	r.t.Helper()
	r.ask(flags, files...).arm().touch().end(api.OK)
	for _, f := range files {
		r.verified(f)
	}
}

// works wants the next job to succeed, whatever happened before.
func (r *rig) works() {
	r.t.Helper()
	r.sign(nil, r.file("next.bin", 1000))
}

// verified wants the file's signature and proof to check out offline.
func (r *rig) verified(file string) {
	r.t.Helper()
	r.client(api.OK, "verify", file)
}

// client runs touchmark and wants an exit code.
func (r *rig) client(code int, args ...string) world.Result {
	r.t.Helper()
	res, err := r.Run(r.ctx, r.work, "touchmark", args...)
	r.must(err)
	if res.Code != code {
		r.t.Errorf("touchmark %v: exit code %d, want %d\n%s%s", args, res.Code, code, res.Stdout, res.Stderr)
	}
	return res
}

// unsigned wants nothing to have been written for the file.
func (r *rig) unsigned(files ...string) {
	r.t.Helper()
	for _, f := range files {
		for _, suffix := range []string{".sig", ".tmproof"} {
			if _, err := os.Lstat(f + suffix); !errors.Is(err, fs.ErrNotExist) {
				r.t.Errorf("%s%s was written (%v)", filepath.Base(f), suffix, err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(r.work, ".touchmark*"))
	if err != nil || len(left) > 0 {
		r.t.Errorf("left behind: %v %v", left, err)
	}
}

// oneLine wants a message for people: one line that holds the words.
func (r *rig) oneLine(res world.Result, words ...string) {
	r.t.Helper()
	text := strings.TrimSpace(res.Stderr)
	last := text[strings.LastIndexByte(text, '\n')+1:]
	for _, w := range words {
		if !strings.Contains(last, w) {
			r.t.Errorf("last line %q does not say %q", last, w)
		}
	}
}

// consumers wants gpg and sqv to accept the files' signatures.
func (r *rig) consumers(files ...string) {
	r.t.Helper()
	cert := filepath.Join(r.Trust, "cert.asc")
	var log bytes.Buffer
	gpg := r.gpg()
	for _, f := range files {
		r.must(gpg.Verify(r.ctx, f+".sig", f))
		r.must(consumers.SQV(r.ctx, &log, cert, f+".sig", f))
	}
}

// gpg has imported the certificate.
func (r *rig) gpg() *consumers.GPG {
	r.t.Helper()
	gpg, err := consumers.NewGPG(r.ctx, io.Discard, filepath.Join(r.t.TempDir(), "gnupg"), filepath.Join(r.Trust, "cert.asc"))
	r.must(err)
	return gpg
}

// text writes a file of this content.
func (r *rig) text(name, content string) string {
	r.t.Helper()
	path := filepath.Join(r.work, name)
	r.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}

// shut stops host and board in good order, so that what is published is complete.
func (r *rig) shut() {
	r.StopHostd()
	r.StopAppliance()
}
