package consumers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// debControl is a package that reprepro and aptly take.
const debControl = `Package: hello
Version: 1.0
Section: misc
Priority: optional
Architecture: all
Maintainer: Touchmark demo <demo@touchmark.example>
Description: Says hello; exists to be signed
`

// deb builds a Debian package.
func (d *desk) deb(t *testing.T, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "DEBIAN", "control"), []byte(debControl), 0o644))
	for _, p := range []string{tree, filepath.Join(tree, "DEBIAN")} {
		must(t, os.Chmod(p, 0o755))
	}
	path := filepath.Join(dir, "hello_1.0_all.deb")
	d.works(t, dir, "dpkg-deb", "--root-owner-group", "-b", tree, path)
	return path
}

// aptConf keeps apt to directories of its own: %[1]s. %[2]s is more of the configuration.
const aptConf = `Dir::Etc { sourcelist "%[1]s/sources.list"; sourceparts "-"; main "-"; parts "-"; };
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/root/var/lib/dpkg/status";
Dir::Cache "%[1]s/cache";
Dir::Log "%[1]s";
Debug::NoLocking "1";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Architecture "amd64";
DPkg::Options { "--root=%[1]s/root"; "--force-not-root"; "--log=%[1]s/dpkg.log"; };
%[2]s`

// apt is apt-get with directories of its own, which knows one repository and the appliance's key for it. What it installs
// goes below root in its directory.
func (d *desk) apt(t *testing.T, name, source, more string, args ...string) []string {
	t.Helper()
	dir := filepath.Join(d.place(t), name)
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "root/var/lib/dpkg/info", "root/var/lib/dpkg/updates"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	for file, text := range map[string]string{
		"sources.list": fmt.Sprintf("deb [signed-by=%s] %s main\n", d.cert, source), "root/var/lib/dpkg/status": "", "apt.conf": fmt.Sprintf(aptConf, dir, more),
	} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	return append([]string{"env", "APT_CONFIG=" + filepath.Join(dir, "apt.conf"), "apt-get"}, args...)
}

// judgedByAPT: apt takes the repository, and takes neither of its signatures over another Release file.
func (d *desk) judgedByAPT(t *testing.T, repository, suite string) {
	t.Helper()
	dir := d.place(t)
	release := filepath.Join(repository, "dists", suite, "Release")
	inline := filepath.Join(repository, "dists", suite, "InRelease")
	source := "file://" + repository + " " + suite
	if out := d.works(t, dir, d.apt(t, "good", source, "", "update")...); !strings.Contains(out, "InRelease") {
		t.Errorf("apt did not read InRelease: %s", out)
	}
	change(t, inline, "Codename: "+suite, "Codename: "+strings.Repeat("x", len(suite)))
	d.refused(t, dir, "invalid: BADSIG", d.apt(t, "changed", source, "", "update")...)
	must(t, os.Remove(inline))
	if out := d.works(t, dir, d.apt(t, "detached", source, "", "update")...); !strings.Contains(out, "Release.gpg") {
		t.Errorf("apt did not read Release.gpg: %s", out)
	}
	change(t, release, "Codename: "+suite, "Codename: "+strings.Repeat("x", len(suite)))
	d.refused(t, dir, "invalid: BADSIG", d.apt(t, "detached-changed", source, "", "update")...)
}

// reprepro makes a repository that is signed in the given way, "" for not at all.
func (d *desk) reprepro(t *testing.T, dir, signWith string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "conf"), 0o755))
	text := "Codename: stable\nSuite: stable\nOrigin: Touchmark demo\nComponents: main\nArchitectures: amd64\n"
	if signWith != "" {
		text += "SignWith: " + signWith + "\n"
	}
	must(t, os.WriteFile(filepath.Join(dir, "conf", "distributions"), []byte(text), 0o644))
	pkg := d.deb(t, dir)
	d.began(t)
	d.works(t, dir, "reprepro", "-b", dir, "includedeb", "stable", pkg)
}

// signsForReprepro: reprepro signs through gpgme, which asks gpgconf where gpg is.
func signsForReprepro(t *testing.T, d *desk) {
	dir := d.place(t)
	d.reprepro(t, dir, d.key)
	d.called(t, dir, "reprepro")
	d.showed(t, "Release", "stable", "SHA256")
	d.judgedByAPT(t, dir, "stable")

	d.deny.Store(true)
	defer d.deny.Store(false)
	must(t, os.Remove(filepath.Join(dir, "dists", "stable", "Release.gpg")))
	d.refused(t, dir, "Operation cancelled", "reprepro", "-b", dir, "export")
	absent(t, filepath.Join(dir, "dists", "stable", "Release.gpg"), filepath.Join(dir, "dists", "stable", "InRelease"))
}

// signsAsHook: as reprepro's hook it has both signatures made in one request, which the operator arms once.
func signsAsHook(t *testing.T, d *desk) {
	dir := d.place(t)
	before := d.armed.Load()
	d.reprepro(t, dir, "! "+filepath.Join(d.tools, "touchmark-sign-release"))
	if n := d.armed.Load() - before; n != 1 {
		t.Errorf("armed %d times", n)
	}
	d.judgedByAPT(t, dir, "stable")
	d.deny.Store(true)
	defer d.deny.Store(false)
	d.refused(t, dir, "denied by the operator", "reprepro", "-b", dir, "export")
}

// signsInRound: what reprepro leaves unsigned in a staging directory is published with both signatures, made in one
// request, of which the operator sees what it says; apt takes the repository, and what it installs from it.
func signsInRound(t *testing.T, d *desk) {
	dir, www := staged(d.dir), served(d.dir)
	must(t, os.MkdirAll(filepath.Join(www, "dists"), 0o755))
	d.reprepro(t, dir, "")
	must(t, os.Symlink(filepath.Join(dir, "pool"), filepath.Join(www, "pool")))
	release := filepath.Join("dists", "stable", "InRelease")
	absent(t, filepath.Join(dir, release), filepath.Join(www, release))
	before, touchmark := d.armed.Load(), filepath.Join(d.w.Bin, "touchmark")
	d.works(t, dir, touchmark, "round", "open", "apt")
	d.works(t, dir, touchmark, "round", "wait", "apt")
	if n := d.armed.Load() - before; n != 1 {
		t.Errorf("armed %d times", n)
	}
	d.showed(t, "Release", "stable", "SHA256")
	source := "file://" + www + " stable"
	d.works(t, dir, d.apt(t, "client", source, "", "update")...)
	d.works(t, dir, d.apt(t, "client", source, "", "-y", "install", "hello")...)
	for _, name := range []string{"InRelease", "Release.gpg"} {
		path := filepath.Join(www, "dists", "stable", name)
		d.works(t, dir, touchmark, "verify", "--sig", path, "--proof", path+".tmproof", filepath.Join(filepath.Dir(path), "Release"))
	}
	d.judgedByAPT(t, www, "stable")
}

// signsForAptly: aptly publishes what the appliance signed.
func signsForAptly(t *testing.T, d *desk) {
	dir := d.place(t)
	config := filepath.Join(dir, "aptly.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `{"rootDir":%q,"gpgProvider":"gpg","architectures":["amd64"]}`, dir), 0o644))
	aptly := func(args ...string) []string { return append([]string{"aptly", "-config=" + config}, args...) }
	d.works(t, dir, aptly("repo", "create", "demo")...)
	d.works(t, dir, aptly("repo", "add", "demo", d.deb(t, dir))...)
	d.began(t)
	d.works(t, dir, aptly("publish", "repo", "-batch", "-gpg-key="+d.key, "-distribution=stable", "-architectures=amd64", "demo")...)
	d.called(t, dir, "aptly")
	d.judgedByAPT(t, filepath.Join(dir, "public"), "stable")
}

// signsDebs: debsigs puts a signature into a package; it is over the package's other members, one behind the other.
func signsDebs(t *testing.T, d *desk) {
	dir := d.place(t)
	pkg := d.deb(t, dir)
	d.began(t)
	d.works(t, dir, "debsigs", "--sign=origin", "-k", d.key, pkg)
	d.called(t, dir, "debsigs")
	member := func(names ...string) []byte {
		var all []byte
		for _, n := range names {
			all = append(all, d.works(t, dir, "ar", "p", pkg, n)...)
		}
		return all
	}
	sig, data := filepath.Join(dir, "origin.sig"), filepath.Join(dir, "members")
	must(t, os.WriteFile(sig, member("_gpgorigin"), 0o644))
	must(t, os.WriteFile(data, member("debian-binary", "control.tar.xz", "data.tar.xz"), 0o644))
	d.good(t, sig, data)
}

// dscSign signs as dpkg-buildpackage does: with a key that only gpg has, whatever else is installed (sq would be taken first).
const dscSign = `my $key = Dpkg::OpenPGP::KeyHandle->new(type => "keyid", handle => $ARGV[0]);
exit Dpkg::OpenPGP->new(needs => {keystore => $key->needs_keystore()})->inline_sign($ARGV[1], $ARGV[2], $key);`

// signsForDpkg has dpkg's own library sign the description of a source package.
func signsForDpkg(t *testing.T, d *desk) {
	dir := d.place(t)
	file := filepath.Join(dir, "hello.dsc")
	must(t, os.WriteFile(file, []byte("Format: 3.0 (native)\nSource: hello\n"), 0o644))
	d.began(t)
	d.works(t, dir, "perl", "-MDpkg::OpenPGP", "-MDpkg::OpenPGP::KeyHandle", "-e", dscSign, d.key, file, file+".asc")
	d.called(t, dir, "dpkg")
	must(t, d.gpg.VerifyText(d.ctx, file+".asc"))
	change(t, file+".asc", "Source: hello", "Source: jello")
	if d.gpg.VerifyText(d.ctx, file+".asc") == nil {
		t.Error("a changed description is accepted")
	}
}
