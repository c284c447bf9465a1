package consumers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/tests/world"
)

// TestToolsThatCallGPG has the tools of repositories sign through the appliance, unchanged, and those of their users
// accept what they signed and refuse what was changed afterwards.
func TestToolsThatCallGPG(t *testing.T) {
	d := newDesk(t)
	for _, tool := range []struct {
		name string
		run  func(*testing.T, *desk)
	}{
		{"gpg", signsAsGPG}, {"git", signsTags}, {"pacman", signsForPacman}, {"reprepro", signsForReprepro}, {"reprepro hook", signsAsHook},
		{"apt round", signsInRound}, {"aptly", signsForAptly}, {"debsigs", signsDebs}, {"dpkg", signsForDpkg}, {"rpm", signsForRPM}, {"batch", signsBatch}, {"securesystemslib", signsForLibrary}, {"in-toto", signsForInToto}, {"apt-transport-in-toto", signsForTransport},
		{"many", signsManyAtOnce}, {"denied", deniesAll}, {"not touched", failsUntouched}, {"interrupted", withdrawsItself}, {"nobody there", endsInTime}, {"no daemon", failsWithoutDaemon},
	} {
		t.Run(tool.name, func(t *testing.T) { tool.run(t, d) })
	}
}

// signsAsGPG calls it as scripts do.
func signsAsGPG(t *testing.T, d *desk) {
	dir := d.place(t)
	file := filepath.Join(dir, "iso.txt")
	must(t, os.WriteFile(file, []byte("- dash\nplain \n"), 0o644))

	out, _, code := d.signed(t, dir, "", "--batch", "--status-fd", "1", "-b", "-u", d.key, "iso.txt")
	for _, want := range []string{"[GNUPG:] KEY_CONSIDERED " + d.key + " 2\n", "[GNUPG:] BEGIN_SIGNING H", "\n[GNUPG:] SIG_CREATED D ", " 00 ", " " + d.key + "\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("code %d, no %q in %s", code, want, out)
		}
	}
	d.good(t, file+".sig", file)
	if _, errs, code := d.signed(t, dir, "", "-b", "iso.txt"); code != 2 || !strings.Contains(errs, "iso.txt.sig exists: remove it") {
		t.Errorf("overwrites: %d %s", code, errs)
	}
	// dak's sign in daklib/gpg.py: all on pipes, files of a key that it does not have
	dak := []string{"--no-options", "--no-tty", "--batch", "--armour", "--personal-digest-preferences", "SHA256", "--local-user", d.key,
		"--keyring", "none.gpg", "--secret-keyring", "none.gpg", "--homedir", filepath.Join(dir, "none"), "--pinentry-mode", "loopback", "--passphrase-file", "none"}
	out, _, code = d.signed(t, dir, "- dash\nplain \n", append(dak, "--detach-sign")...)
	must(t, os.WriteFile(file+".dak", []byte(out), 0o644))
	if code != 0 {
		t.Errorf("code %d", code)
	}
	d.good(t, file+".dak", file)
	out, _, code = d.signed(t, dir, "- dash\nplain \n", append(dak, "--clearsign")...)
	must(t, os.WriteFile(file+".asc", []byte(out), 0o644))
	if err := d.gpg.VerifyText(d.ctx, file+".asc"); code != 0 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	change(t, file+".asc", "plain", "plaid")
	if d.gpg.VerifyText(d.ctx, file+".asc") == nil {
		t.Error("a changed text is accepted")
	}
	out, _, code = d.signed(t, dir, "lines\n", "-ab", "--digest-algo", "SHA512", "-t", "--output", "-")
	must(t, os.WriteFile(file, []byte("lines\n"), 0o644))
	must(t, os.WriteFile(file+".txt", []byte(out), 0o644))
	if code != 0 {
		t.Errorf("code %d", code)
	}
	d.good(t, file+".txt", file)
	passesOn(t, d, dir)
}

// passesOn: what is not the appliance's business is the real gpg's.
func passesOn(t *testing.T, d *desk, dir string) {
	t.Helper()
	if out, _, code := d.signed(t, dir, "", "--version"); code != 0 || !strings.HasPrefix(out, "gpg (GnuPG) 2.") {
		t.Errorf("%d %s", code, out)
	}
	if out, _, code := d.signed(t, dir, "", "--with-colons", "--list-secret-keys", "<demo@touchmark.example>"); code != 0 || !strings.HasPrefix(out, "sec:u:") || !strings.Contains(out, ":"+d.key[24:]+":") {
		t.Errorf("%d %s", code, out)
	}
	if _, errs, code := d.signed(t, dir, "", "--list-secret-keys", "somebody"); code != 2 || !strings.Contains(errs, "No secret key") {
		t.Errorf("%d %s", code, errs)
	}
	if _, errs, code := d.signed(t, dir, "x", "-b", "-u", "somebody"); code != 2 || !strings.Contains(errs, "somebody") {
		t.Errorf("%d %s", code, errs)
	}
	if out, _, code := d.signed(t, dir, "", "--list-secret-keys"); code != 0 || !strings.Contains(out, d.key) {
		t.Errorf("%d %s", code, out)
	}
}

// signsTags has git sign a commit and a tag, verify them, and refuse both with another text.
func signsTags(t *testing.T, d *desk) {
	dir := d.place(t)
	git := func(args ...string) []string {
		return append([]string{"git", "-c", "user.name=A", "-c", "user.email=a@b.example", "-c", "user.signingkey=" + d.key, "-c", "init.defaultBranch=main"}, args...)
	}
	d.works(t, dir, git("init", "-q")...)
	d.began(t)
	d.works(t, dir, git("commit", "-q", "--allow-empty", "-S", "-m", "a message")...)
	d.works(t, dir, git("tag", "-s", "-m", "a message", "v1.0")...)
	for _, args := range [][]string{{"verify-commit", "HEAD"}, {"verify-tag", "v1.0"}} {
		if out := d.works(t, dir, git(args...)...); !strings.Contains(out, "Good signature") {
			t.Errorf("%q: %s", args, out)
		}
	}
	d.called(t, dir, "git")
	for kind, object := range map[string]string{"commit": "HEAD", "tag": "v1.0"} {
		text := d.works(t, dir, git("cat-file", kind, object)...)
		path := filepath.Join(dir, kind)
		must(t, os.WriteFile(path, []byte(strings.Replace(text, "a message", "b message", 1)), 0o644))
		forged := strings.TrimSpace(d.works(t, dir, git("hash-object", "-t", kind, "-w", path)...))
		d.refused(t, dir, "BAD signature", git("verify-"+kind, forged)...)
	}
	// configured by name rather than by PATH
	d.works(t, dir, git("-c", "gpg.program="+filepath.Join(d.tools, "touchmark-gpg"), "tag", "-s", "-m", "another", "v1.1")...)
	d.works(t, dir, git("verify-tag", "v1.1")...)
}

// signsForPacman has makepkg sign a package and repo-add the databases; pacman installs it, and refuses each of them
// with a byte changed.
func signsForPacman(t *testing.T, d *desk) {
	dir := d.place(t)
	d.began(t)
	pkg, err := Package{Name: "hello", Version: "1.0", Log: t.Output(), Key: d.key, Env: d.env()}.Build(d.ctx, dir)
	must(t, err)
	d.called(t, filepath.Dir(d.lastSigned(t)), "makepkg")
	d.good(t, pkg+".sig", pkg)
	d.began(t)
	d.works(t, dir, "repo-add", "--nocolor", "--sign", "--key", d.key, filepath.Join(dir, "demo.db.tar.gz"), pkg)
	d.called(t, dir, "repo-add")

	client := func(name string) *Pacman {
		pac, err := NewPacman(t.Output(), filepath.Join(dir, name), d.gpg, "demo", dir)
		must(t, err)
		return pac
	}
	pac := client("client")
	must(t, pac.Sync(d.ctx))
	must(t, pac.Install(d.ctx, "hello"))
	must(t, client("client4").InstallFile(d.ctx, pkg))
	db := filepath.Join(dir, "demo.db.tar.gz")
	flipLastByte(t, db)
	if client("client2").Sync(d.ctx) == nil {
		t.Error("pacman accepts a changed database")
	}
	flipLastByte(t, db)
	flipLastByte(t, pkg)
	pac = client("client3")
	must(t, pac.Sync(d.ctx))
	if pac.Download(d.ctx, "hello") == nil || pac.InstallFile(d.ctx, pkg) == nil {
		t.Error("pacman accepts a changed package")
	}
}

// lastSigned is the file that the last call was about.
func (d *desk) lastSigned(t *testing.T) string {
	t.Helper()
	calls, err := os.ReadFile(d.calls)
	must(t, err)
	words := strings.Fields(string(calls))
	if len(words) == 0 {
		t.Fatal("nothing was called")
	}
	return words[len(words)-1]
}

// signsForLibrary calls it as securesystemslib does, which waits for three seconds unless it is told.
func signsForLibrary(t *testing.T, d *desk) {
	dir := d.place(t)
	script := filepath.Join(dir, "sign.py")
	must(t, os.WriteFile(script, []byte(`#!/usr/bin/python3
import sys
from securesystemslib.gpg.functions import create_signature, export_pubkey, verify_signature
key, data = sys.argv[1], b'{"a":1}'
signature = create_signature(data, key)
public = export_pubkey(key)
assert verify_signature(signature, public, data)
assert not verify_signature(signature, public, data + b' ')
print("verified")
`), 0o755))
	d.began(t)
	out, err := command{argv: []string{filepath.Join(d.tools, "touchmark-wait"), script, d.key}, dir: dir, env: d.env("GNUPG=" + filepath.Join(d.tools, "gpg")), log: t.Output()}.run(d.ctx)
	if err != nil || !strings.Contains(out, "verified") {
		t.Fatalf("%v %s", err, out)
	}
	d.called(t, dir, "securesystemslib")
}

// deniesAll: where the operator says no, every tool that can fail does, and none has a signature.
func deniesAll(t *testing.T, d *desk) {
	d.deny.Store(true)
	defer d.deny.Store(false)
	dir := d.place(t)
	file := filepath.Join(dir, "evil.db.tar.gz")
	must(t, os.WriteFile(file, []byte("evil"), 0o644))
	out, errs, code := d.signed(t, dir, "", "--status-fd", "1", "-b", "-u", d.key, file)
	if code != 2 || out != "[GNUPG:] FAILURE sign 33554531\n" || !strings.HasPrefix(errs, "gpg: ") || !strings.Contains(errs, "denied by the operator") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	if out, _, code := d.signed(t, dir, "evil", "-ab"); code != 2 || out != "" {
		t.Errorf("code %d, %q", code, out)
	}
	out, _, code = d.signed(t, dir, "evil", "-ab", "--yes", "-o", file)
	if b, err := os.ReadFile(file); err != nil || string(b) != "evil" || code != 2 || out != "" {
		t.Errorf("what was there is gone: %q %v", b, err)
	}
	d.works(t, dir, "git", "init", "-q")
	d.refused(t, dir, "gpg failed to sign the data", "git", "-c", "user.name=A", "-c", "user.email=a@b.example", "-c", "user.signingkey="+d.key, "commit", "-q", "--allow-empty", "-S", "-m", "evil")
	d.refused(t, dir, "", "git", "rev-parse", "--verify", "HEAD")
	absent(t, file+".sig", file+".asc", file+".tmproof")
}

// signsBatch: an image, the list of sums and that of an rpm repository are one request, which is armed once.
func signsBatch(t *testing.T, d *desk) {
	dir, before := d.place(t), d.armed.Load()
	args := []string{filepath.Join(d.w.Bin, "touchmark"), "sign", "-q", "--armor"}
	for _, name := range []string{"image.iso", "SHA256SUMS", "repomd.xml"} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte("this is "+name), 0o644))
		args = append(args, path)
	}
	d.works(t, dir, args...)
	if n := d.armed.Load() - before; n != 1 {
		t.Errorf("armed %d times", n)
	}
	for _, path := range args[4:] {
		d.good(t, path+".asc", path)
	}
}

// failsUntouched: nobody touches the token in time.
func failsUntouched(t *testing.T, d *desk) {
	dir := d.place(t)
	must(t, d.w.Token.Mode(d.ctx, "ask"))
	defer func() { must(t, d.w.Token.Mode(d.ctx, "auto")) }()
	expired := make(chan error, 1)
	go func() {
		err := d.w.Token.Await(d.ctx)
		if err == nil {
			err = d.w.Token.Expire(d.ctx)
		}
		expired <- err
	}()
	out, errs, code := d.signed(t, dir, "data", "--status-fd", "1", "-ab", "-o", "data.asc")
	must(t, <-expired)
	if code != 2 || out != "[GNUPG:] FAILURE sign 33554494\n" || !strings.Contains(errs, "raise the alarm") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	absent(t, filepath.Join(dir, "data.asc"))
}

// withdrawsItself: a caller that is ended takes its request back, from the operator's display too.
func withdrawsItself(t *testing.T, d *desk) {
	dir := d.place(t)
	d.hold.Lock() // nothing is armed meanwhile
	defer d.hold.Unlock()
	cmd := d.w.Command(d.ctx, dir, "touchmark-gpg", "-ab", "-o", "data.asc")
	cmd.Stdin = strings.NewReader("data")
	var errs strings.Builder
	cmd.Stderr = &errs
	mark := d.w.Views().Mark()
	must(t, cmd.Start())
	_, mark, err := d.w.Views().Wait(d.ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
	must(t, err)
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	must(t, world.Exited(cmd.Wait()))
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(errs.String(), "withdrawn, nothing was signed") {
		t.Errorf("code %d: %s", code, errs.String())
	}
	_, _, err = d.w.Views().Wait(d.ctx, mark, func(v operator.View) bool { return v.Ask != operator.AskArm })
	must(t, err)
	absent(t, filepath.Join(dir, "data.asc"))
}

// endsInTime: where nobody looks at the display, a caller ends by itself, as its time says.
func endsInTime(t *testing.T, d *desk) {
	dir := d.place(t)
	d.hold.Lock()
	defer d.hold.Unlock()
	cmd := d.w.Command(d.ctx, dir, "touchmark-gpg", "--status-fd", "1", "-ab", "-o", "data.asc")
	cmd.Env = append(cmd.Env, "TOUCHMARK_TIMEOUT=1s")
	cmd.Stdin = strings.NewReader("data that nobody looks at")
	out, err := cmd.Output()
	must(t, world.Exited(err))
	if code := cmd.ProcessState.ExitCode(); code != 2 || string(out) != "[GNUPG:] FAILURE sign 33554494\n" {
		t.Errorf("code %d: %s", code, out)
	}
	absent(t, filepath.Join(dir, "data.asc"))
}

// failsWithoutDaemon: nobody to ask is a failure, at once, with a line that says what to do.
func failsWithoutDaemon(t *testing.T, d *desk) {
	dir := d.place(t)
	d.w.StopHostd()
	file := filepath.Join(dir, "a.db.tar.gz")
	must(t, os.WriteFile(file, []byte("a"), 0o644))
	_, errs, code := d.signed(t, dir, "", "--detach-sign", "-u", d.key, file)
	if code != 2 || !strings.Contains(errs, "touchmark-hostd is not running") || strings.Count(errs, "\n") != 1 {
		t.Errorf("%d %s", code, errs)
	}
	absent(t, file+".sig")
}

// signsManyAtOnce: fifty callers at once all get their signature, each over its own file, and in the order in which the
// daemon took them; nobody waits for ever.
func signsManyAtOnce(t *testing.T, d *desk) {
	const callers = 50
	dir, mark := d.place(t), d.w.Hostd().Log.Mark()
	d.hold.Lock() // the operator looks away until all have come
	back := sync.OnceFunc(d.hold.Unlock)
	defer back()
	ends := make(chan world.Result, callers)
	for i := range callers {
		name := filepath.Join(dir, fmt.Sprintf("file%02d", i))
		must(t, os.WriteFile(name, []byte(name), 0o644))
		go func() {
			r, err := d.w.Run(d.ctx, dir, "touchmark-gpg", "--batch", "--detach-sign", "-u", d.key, name)
			if err != nil {
				r.Stderr += err.Error()
			}
			ends <- r
		}()
	}
	took := d.waiting(t, callers)
	back()
	for range callers {
		if r := <-ends; r.Code != 0 || r.Stderr != "" {
			t.Errorf("code %d: %s", r.Code, r.Stderr)
		}
	}
	if shown := d.submitted(mark); !slices.Equal(shown, took) {
		t.Errorf("taken in the order\n%s\nshown in the order\n%s", took, shown)
	}
	for _, name := range []string{"file00", "file49"} {
		d.good(t, filepath.Join(dir, name+".sig"), filepath.Join(dir, name))
	}
}

// waiting waits until so many jobs are with the daemon, and names them in its order.
func (d *desk) waiting(t *testing.T, n int) []string {
	t.Helper()
	c, err := client.Daemon{Socket: d.w.Socket}.Dial()
	must(t, err)
	stop := context.AfterFunc(d.ctx, func() { _ = c.Close() })
	defer func() { stop(); _ = c.Close() }()
	must(t, c.Say(&api.Request{Op: api.OpWatch}))
	for {
		r, err := c.Next()
		must(t, err)
		if r.Final {
			t.Fatal(r.Error)
		}
		if len(r.Jobs) >= n {
			var jobs []string
			for _, j := range r.Jobs {
				jobs = append(jobs, j.Job)
			}
			return jobs
		}
	}
}

var jobIdentity = regexp.MustCompile("[0-9a-f]{64}")

// submitted names the jobs that the daemon has handed to the appliance since mark, in order.
func (d *desk) submitted(mark int) []string {
	var jobs []string
	for _, line := range d.w.Hostd().Log.All()[mark:] {
		if job := jobIdentity.FindString(line); strings.Contains(line, "submitted") && !slices.Contains(jobs, job) {
			jobs = append(jobs, job)
		}
	}
	return jobs
}
