package consumers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tests/world"
	"touchmark/tpm/anchor"
)

// desk is a repository host with a board whose operator arms whatever is asked, and touchmark-gpg in the place of gpg.
// Every call that a tool makes is written down on its way there.
type desk struct {
	t     *testing.T
	ctx   context.Context
	w     *world.World
	dir   string
	tools string                       // directory with gpg and gpgconf, for the PATH
	calls string                       // what was called
	cert  string                       // of the appliance's key, binary
	armor string                       // the same as text
	key   string                       // its fingerprint
	meta  string                       // that of the key for in-toto's metadata
	gpg   *GPG                         // a real one that knows it
	deny  atomic.Bool                  // what the operator does
	hold  sync.Mutex                   // who has it keeps the operator from deciding
	armed atomic.Int32                 // how often that was to arm
	shown atomic.Pointer[operator.Job] // what was asked last
}

// newDesk brings everything up where other users get to it too: makepkg runs as one of them.
func newDesk(t *testing.T) *desk {
	t.Helper()
	if err := Installed(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "tm")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &desk{t: t, ctx: t.Context(), dir: dir, tools: filepath.Join(dir, "bin"), calls: filepath.Join(dir, "calls")}
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "build", "bin")
	}
	if d.w, err = world.Up(d.ctx, world.Config{Dir: filepath.Join(dir, "world"), Bin: bin, Touch: "auto", Algorithm: algorithm(), Policy: withMetadata, HostTOML: fmt.Sprintf(aptRule, staged(dir), served(dir))}); err != nil {
		t.Fatalf("%v (are the programs built? run make build)", err)
	}
	attend(t, d.w, d.decide)
	d.standIn(d.w.Bin)
	d.keys()
	d.open()
	return d
}

// aptRule watches a staged apt repository; nothing is in it before the test of that.
const aptRule = `
[[watch]]
rule  = "apt"
class = "anything"
dir   = "%[1]s/dists/stable"
into  = "%[2]s/dists/stable"
lock  = "../../db/lockfile"

[[watch.sign]]
file   = "Release"
format = "openpgp-cleartext"
as     = "InRelease"

[[watch.sign]]
file  = "Release"
armor = true
as    = "Release.gpg"
`

func staged(dir string) string { return filepath.Join(dir, "staged") }
func served(dir string) string { return filepath.Join(dir, "www") }

// algorithm is the type of the key that tools sign with: RSA, which all of them take, or what TOUCHMARK_CONSUMERS_KEY says.
func algorithm() string {
	if a := os.Getenv("TOUCHMARK_CONSUMERS_KEY"); a != "" {
		return a
	}
	return "rsa2048"
}

// withMetadata gives the policy a key for in-toto's metadata alone.
func withMetadata(text string) string { return withMetadataBy("rsa2048", text) }

func withMetadataBy(algorithm, text string) string {
	key := fmt.Sprintf("[[key]]\nname = \"metadata\"\nslot = \"9a\"\nfamily = \"in-toto\"\nalgorithm = %q\n\n", algorithm)
	const class = "\n[[class]]\nname = \"in-toto\"\nkeys = [\"metadata\"]\nhosts = [\"repo1\"]\nnames = [\"*.in-toto\", \"*.layout\", \"*.link\"]\nformats = [\"in-toto-gpg\"]\n" +
		"max_size = \"1MiB\"\nrates = [\"60/1h\"]\napprovals = 0\nbatch = 4\n"
	return strings.Replace(text, "[[class]]", key+"[[class]]", 1) + class
}

// attend has a board's operator say something about every request, until the test ends, and the board with it.
func attend(t *testing.T, w *world.World, say func(*operator.Job) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	board := w.Appliance()
	go func() { ended <- w.Decide(ctx, say) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the operator's work ended by itself: %v\n%s", err, board.LogTail())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// decide is what the desk's operator says.
func (d *desk) decide(job *operator.Job) error {
	d.shown.Store(job)
	word := "arm "
	if d.deny.Load() {
		word = "deny "
	} else {
		d.armed.Add(1)
	}
	d.hold.Lock()
	defer d.hold.Unlock()
	return d.w.Operator(word + job.ID)
}

// recorder writes a call down and becomes touchmark-gpg under its own name.
const recorder = `#!/bin/bash
printf '%%s\n' "${0##*/}$(printf '\t%%s' "$@")" >>%q
exec -a "$0" %q "$@"
`

func (d *desk) standIn(bin string) {
	d.t.Helper()
	program := filepath.Join(d.dir, "touchmark-gpg")
	_, err := command{argv: []string{"install", "-m", "755", filepath.Join(bin, "touchmark-gpg"), program}}.run(d.ctx)
	must(d.t, err)
	must(d.t, os.Mkdir(d.tools, 0o755))
	for _, name := range []string{"gpg", "gpgconf", "touchmark-sign-release"} {
		must(d.t, os.WriteFile(filepath.Join(d.tools, name), fmt.Appendf(nil, recorder, d.calls, program), 0o755))
	}
	must(d.t, os.Symlink(program, filepath.Join(d.tools, "touchmark-gpg")))
	must(d.t, os.Symlink(filepath.Join(bin, "touchmark-wait"), filepath.Join(d.tools, "touchmark-wait")))
}

func (d *desk) keys() {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.w.Trust, "trust"))
	must(d.t, err)
	trust, err := anchor.OpenTrust(text)
	must(d.t, err)
	d.cert, d.armor = filepath.Join(d.dir, "key.gpg"), filepath.Join(d.dir, "key.asc")
	must(d.t, os.WriteFile(d.cert, trust.Certs[0], 0o644))
	d.gpg, err = NewGPG(d.ctx, d.t.Output(), filepath.Join(d.dir, "gnupg"), d.cert)
	must(d.t, err)
	d.key, err = d.gpg.Fingerprint(d.ctx)
	must(d.t, err)
	other := filepath.Join(d.dir, "metadata.gpg")
	must(d.t, os.WriteFile(other, trust.Certs[1], 0o644))
	_, err = d.gpg.run(d.ctx, "--import", other)
	must(d.t, err)
	c, err := certificate.Parse(trust.Certs[1])
	must(d.t, err)
	d.meta = fmt.Sprintf("%X", c.Key.Fingerprint())
	armored, err := d.gpg.run(d.ctx, "--armor", "--export", d.key)
	must(d.t, err)
	must(d.t, os.WriteFile(d.armor, []byte(armored), 0o644))
}

// open lets every user of this machine have things signed.
func (d *desk) open() {
	d.t.Helper()
	must(d.t, os.WriteFile(d.calls, nil, 0o644))
	for path, mode := range map[string]os.FileMode{
		d.dir: 0o755, d.tools: 0o755, d.calls: 0o666, d.w.Dir: 0o755, d.w.Sockets: 0o755, d.w.Socket: 0o666, d.w.Trust: 0o755, filepath.Join(d.w.Trust, "trust"): 0o644,
	} {
		must(d.t, os.Chmod(path, mode))
	}
	for _, name := range []string{"gpg", "gpgconf", "touchmark-sign-release"} {
		must(d.t, os.Chmod(filepath.Join(d.tools, name), 0o755))
	}
}

// place makes a directory for a tool.
func (d *desk) place(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(d.dir, strings.ReplaceAll(t.Name(), "/", "-"))
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// env is what a tool runs with: our gpg first on the PATH.
func (d *desk) env(more ...string) []string {
	return append(append(d.w.Env(), "PATH="+d.tools+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "GNUPGHOME="+d.gpg.Home, "HOME="+d.dir, "GIT_CONFIG_NOSYSTEM=1"), more...)
}

// run runs a tool in a directory.
func (d *desk) run(t *testing.T, dir string, argv ...string) (string, error) {
	t.Helper()
	return command{argv: argv, dir: dir, env: d.env(), log: t.Output()}.run(d.ctx)
}

// showed wants that the operator was shown these words about what was signed last.
func (d *desk) showed(t *testing.T, words ...string) {
	t.Helper()
	var text string
	for _, it := range d.shown.Load().Items {
		text += it.Claimed + "\n" + strings.Join(it.Meaning, "\n") + "\n"
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the operator was not shown %q but\n%s", w, text)
		}
	}
}

// asRoot is a command that installs into a root of its own, for who is not root: as root of a user namespace.
func asRoot(argv ...string) []string {
	if os.Geteuid() == 0 {
		return argv
	}
	return append([]string{"unshare", "-r", "--"}, argv...)
}

// works runs a tool that has to succeed.
func (d *desk) works(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	out, err := d.run(t, dir, argv...)
	must(t, err)
	return out
}

// refused runs a tool that has to fail, in one of the given words.
func (d *desk) refused(t *testing.T, dir, words string, argv ...string) {
	t.Helper()
	out, err := d.run(t, dir, argv...)
	if err == nil || !strings.Contains(out, words) {
		t.Errorf("%q: %v, want a refusal with %q; it said:\n%s", argv, err, words, out)
	}
}

// began forgets the calls so far.
func (d *desk) began(t *testing.T) {
	t.Helper()
	must(t, os.Truncate(d.calls, 0))
}

// called compares the calls since began with those that the parser of hostlink/gpgcompat is tested against. A tool that
// calls in another way than when they were recorded is looked at by a person before it is trusted.
func (d *desk) called(t *testing.T, dir, tool string) {
	t.Helper()
	got, err := os.ReadFile(d.calls)
	must(t, err)
	text, err := os.ReadFile(filepath.Join("..", "..", "hostlink", "gpgcompat", "testdata", "calls", tool+".txt"))
	must(t, err)
	_, want, _ := strings.Cut(string(text), "\n")
	if calls := d.general(string(got), dir); calls != want {
		t.Errorf("%s calls otherwise than recorded; it called\n%swhich was recorded as\n%s", tool, calls, want)
	}
}

// What differs from run to run.
var (
	temporary   = regexp.MustCompile(`/tmp/(aptly|\.git_vtag_tmp)[0-9A-Za-z]+`)
	descriptors = regexp.MustCompile(`(-fd |-&)[0-9]+`)
	repeated    = "gpg --version\n"
)

// general puts placeholders for what differs from run to run, and once what a tool asks again and again.
func (d *desk) general(calls, dir string) string {
	spaced := regexp.MustCompile("\t([^\t\n]* [^\t\n]*)")
	s := strings.ReplaceAll(spaced.ReplaceAllString(calls, "\t\"$1\""), "\t", " ")
	s = strings.NewReplacer(dir, "$DIR", d.key, "$KEY", d.key[24:], "$KEYID").Replace(s)
	s = descriptors.ReplaceAllString(temporary.ReplaceAllString(s, "$$TMP"), "${1}$$FD")
	for strings.Contains(s, repeated+repeated) {
		s = strings.ReplaceAll(s, repeated+repeated, repeated)
	}
	return s
}

// good wants gpg, gpgv and sqv to accept a signature, and all to refuse it over one other byte.
func (d *desk) good(t *testing.T, sig, file string) {
	t.Helper()
	gpgv := func(file string) error {
		_, err := command{argv: []string{"gpgv", "--keyring", d.cert, sig, file}, log: t.Output()}.run(d.ctx)
		return err
	}
	must(t, d.gpg.Verify(d.ctx, sig, file))
	must(t, SQV(d.ctx, t.Output(), d.cert, sig, file))
	must(t, gpgv(file))
	other := filepath.Join(t.TempDir(), "other")
	must(t, copyFile(other, file))
	flipLastByte(t, other)
	if d.gpg.Verify(d.ctx, sig, other) == nil || SQV(d.ctx, t.Output(), d.cert, sig, other) == nil || gpgv(other) == nil {
		t.Errorf("%s is accepted for another file", sig)
	}
}

// change replaces a text in a file by another of the same length.
func change(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Contains(b, []byte(from)) || len(from) != len(to) {
		t.Fatalf("%s has no %q", path, from)
	}
	must(t, os.WriteFile(path, bytes.Replace(b, []byte(from), []byte(to), 1), 0o644))
}

// absent wants that nothing was left behind.
func absent(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s was written", p)
		}
	}
}

// signed runs our gpg with something on its standard input and answers what it wrote.
func (d *desk) signed(t *testing.T, dir, in string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(d.ctx, filepath.Join(d.tools, "gpg"), args...)
	cmd.Dir, cmd.Env = dir, append([]string{"LC_ALL=C.UTF-8"}, d.env()...)
	cmd.Stdin = strings.NewReader(in)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, world.Exited(cmd.Run()))
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
