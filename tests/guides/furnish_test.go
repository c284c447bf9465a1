package guides

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// furnish puts onto a machine what a page takes for granted: our package, what somebody built before he came to the page,
// and the configuration of a client's package managers as far as it keeps them to the machine's directory.
func (s *stage) furnish(who string) {
	s.t.Helper()
	s.put(who, "home/touchmark_0.1_amd64.deb", "what tests/packages installs\n")
	switch who {
	case "host", "bob":
		s.build(who)
	case "client":
		s.client(who)
	}
}

func (s *stage) put(who, name, text string) {
	s.t.Helper()
	path := s.path(who, name)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, []byte(text), 0o644))
}

const pacmanConf = `[options]
RootDir = %[1]s
DBPath = %[1]s/var/lib/pacman
CacheDir = %[1]s/cache
GPGDir = %[1]s/gnupg
LogFile = %[1]s/pacman.log
HookDir = %[1]s/hooks
Architecture = auto
SigLevel = Required DatabaseOptional
`

const aptConf = `Dir::Etc { sourcelist "/dev/null"; sourceparts "%[1]s/etc/apt/sources.list.d"; main "/dev/null"; parts "%[1]s/etc/apt/apt.conf.d"; preferences "/dev/null"; preferencesparts "/dev/null"; };
Dir::Bin::methods "%[1]s/methods";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/root/var/lib/dpkg/status";
Dir::Cache "%[1]s/cache";
Dir::Log "%[1]s";
Debug::NoLocking "1";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Architecture "amd64";
DPkg::Options { "--root=%[1]s/root"; "--force-not-root"; "--log=%[1]s/dpkg.log"; };
`

// client configures pacman, apt and dnf.
func (s *stage) client(who string) {
	s.t.Helper()
	root := s.path(who, "")
	for _, sub := range []string{"var/lib/pacman", "usr/share/pacman/keyrings", "gnupg", "state/lists/partial", "cache/archives/partial", "root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/yum.repos.d", "methods"} {
		must(s.t, os.MkdirAll(s.path(who, sub), 0o755))
	}
	s.put(who, "root/var/lib/dpkg/status", "")
	s.put(who, "etc/pacman.conf", fmt.Sprintf(pacmanConf, root))
	s.put(who, "apt.conf", fmt.Sprintf(aptConf, root))
	s.methods(who)
}

// methods are apt's, with the transport of in-toto made patient, and its log, which has one place for all users of a
// machine, among the client's files.
func (s *stage) methods(who string) {
	s.t.Helper()
	const theirs = "/usr/lib/apt/methods"
	entries, err := os.ReadDir(theirs)
	must(s.t, err)
	for _, e := range entries {
		if e.Name() != "intoto" {
			must(s.t, os.Symlink(filepath.Join(theirs, e.Name()), s.path(who, "methods/"+e.Name())))
		}
	}
	text, err := os.ReadFile(filepath.Join(theirs, "intoto"))
	must(s.t, err)
	program := s.path(who, "methods/intoto.py")
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s\n", filepath.Join(s.Bin, "touchmark-wait"), program)
	for path, content := range map[string]string{s.path(who, "methods/intoto"): script, program: strings.Replace(string(text), "/tmp/intoto.log", s.path(who, "intoto.log"), 1)} {
		must(s.t, os.WriteFile(path, []byte(content), 0o755))
	}
}

// master is the key that pacman-key --init made long ago; a smaller one than it makes, in a fraction of the time.
func (s *stage) master(who string) error {
	home := s.path(who, "gnupg")
	if _, err := os.Stat(filepath.Join(home, "gpg.conf")); err == nil {
		return nil
	}
	if err := errors.Join(os.Chmod(home, 0o700), os.WriteFile(filepath.Join(home, "pubring.gpg"), nil, 0o644)); err != nil {
		return err
	}
	c := &call{Who: who, Dir: home}
	out, err := s.real(c, "gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "Pacman Keyring Master Key <pacman@localhost>", "ed25519", "cert", "never")
	if err == nil {
		c.Argv = []string{"pacman-key", "--init"}
		out, err = s.asPacmanKey(c)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// pkginfo is what makepkg writes into a package, debControl what Debian's tools do, rpmSpec what rpmbuild reads. makepkg
// itself has tests of its own (tests/consumers), and takes its time.
const (
	pkginfo    = "pkgname = hello\npkgbase = hello\npkgver = 1.0-1\npkgdesc = Says hello\nurl = https://packages.example\nbuilddate = 1767225600\npackager = Somebody\nsize = 6\narch = any\n"
	debControl = "Package: hello\nVersion: 1.0\nSection: misc\nPriority: optional\nArchitecture: all\nMaintainer: Somebody <somebody@example.org>\nDescription: Says hello\n"
	rpmSpec    = "Name: hello\nVersion: 1\nRelease: 1\nSummary: Says hello\nLicense: Apache-2.0\nBuildArch: noarch\n%description\nSays hello.\n%files\n"
)

// sourceDate is 2026-01-01T00:00:00Z.
const sourceDate = "SOURCE_DATE_EPOCH=1767225600"

// build makes what the host has to sign.
func (s *stage) build(who string) {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, text := range map[string]string{"pacman/.PKGINFO": pkginfo, "pacman/usr/bin/hello": "#!/bin/sh\necho hello\n", "deb/DEBIAN/control": debControl, "hello.spec": rpmSpec} {
		path := filepath.Join(dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, []byte(text), 0o755))
	}
	for _, argv := range [][]string{
		{"bsdtar", "-C", dir + "/pacman", "--zstd", "-cf", s.path(who, "home/hello-1.0-1-any.pkg.tar.zst"), ".PKGINFO", "usr"},
		{"dpkg-deb", "--root-owner-group", "-b", dir + "/deb", s.path(who, "home/hello_1.0_all.deb")},
		{"rpmbuild", "-bb", "--define", "_topdir " + dir, "--define", "_rpmdir " + s.path(who, "home"), "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", dir + "/hello.spec"},
	} {
		cmd := exec.CommandContext(s.ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), sourceDate) // two rebuilders make the same
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v\n%s", argv[0], err, out)
		}
	}
}
