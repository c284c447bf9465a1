package keyring

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/sshsig"
)

// exported writes an export below a new directory, whose path is short: gpg-agent has a socket in one beside it.
func exported(t *testing.T, keys ...*signer) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var ring certificate.Keyring
	for _, k := range keys {
		ring = append(ring, k.cert)
	}
	for _, f := range must(Files(ring, Options{Name: "example", Origin: origin, Principals: []string{"release@example.org"}, Namespaces: []string{"file"}})) {
		write(t, filepath.Join(dir, f.Path), f.Content)
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// run runs a program of the system with nothing of the user's; out is what it said.
func run(t *testing.T, dir, stdin string, argv ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute) // cleanups run programs too
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=" + dir, "TERM=dumb"}
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// accepts and refuses hold what a program says of good and of bad input.
func accepts(t *testing.T, dir, stdin string, argv ...string) string {
	t.Helper()
	out, err := run(t, dir, stdin, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

func refuses(t *testing.T, dir, stdin string, argv ...string) string {
	t.Helper()
	out, err := run(t, dir, stdin, argv...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		t.Fatalf("%s ended with %v, not a refusal:\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

const text = "what is signed\n"

// TestPacmanKey: the real pacman-key takes keys into its keyring as a distribution's, and believes what they signed; a
// revoked one and one that is not in the keyring it does not.
func TestPacmanKey(t *testing.T) {
	good, old, other := newSigner("Packages <packages@example.org>"), newSigner("Old <old@example.org>"), newSigner("Eve <eve@example.org>")
	signed := map[string]*signer{"good": good, "old": old, "other": other}
	sigs := map[string][]byte{}
	for name, s := range signed {
		sigs[name] = s.sign("openpgp-binary", []byte(text))
	}
	old.revoke()
	dir := exported(t, good, old)
	for name := range signed {
		write(t, filepath.Join(dir, name), []byte(text))
		write(t, filepath.Join(dir, name+".sig"), sigs[name])
	}
	write(t, filepath.Join(dir, "changed"), []byte(text+"!"))
	write(t, filepath.Join(dir, "changed.sig"), sigs["good"])
	pacmanKey := pacmanKeyFrom(t, dir, filepath.Join(dir, "pacman"))
	accepts(t, dir, "", append(pacmanKey, "--init")...)
	t.Cleanup(func() { _, _ = run(t, dir, "", "gpgconf", "--homedir", filepath.Join(dir, "g"), "--kill", "all") })
	accepts(t, dir, "", append(pacmanKey, "--populate", "example")...)
	accepts(t, dir, "", append(pacmanKey, "--verify", "good.sig")...)
	for _, name := range []string{"old", "other", "changed"} {
		refuses(t, dir, "", append(pacmanKey, "--verify", name+".sig")...)
	}
}

// pacmanKeyFrom is the system's pacman-key but for where it looks for keyring packages, which no option says.
func pacmanKeyFrom(t *testing.T, dir, keyrings string) []string {
	t.Helper()
	path, err := exec.LookPath("pacman-key")
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	script := must(os.ReadFile(path))
	place := regexp.MustCompile(`(?m)^(\s*local KEYRING_IMPORT_DIR=).*$`)
	if n := len(place.FindAll(script, -1)); n != 1 {
		t.Fatalf("%s names %d directories of keyrings", path, n)
	}
	mine := filepath.Join(dir, "pacman-key")
	write(t, mine, place.ReplaceAll(script, []byte("${1}'"+keyrings+"'")))
	write(t, filepath.Join(dir, "pacman.conf"), []byte("[options]\n"))
	argv := []string{"bash", mine, "--config", filepath.Join(dir, "pacman.conf"), "--gpgdir", filepath.Join(dir, "g")}
	if os.Geteuid() != 0 {
		argv = append([]string{"fakeroot"}, argv...)
	}
	return argv
}

// TestApt: apt takes an InRelease by the keyring as Signed-By, and one by another key it does not.
func TestApt(t *testing.T) {
	good, other := newSigner("Archive <archive@example.org>"), newSigner("Eve <eve@example.org>")
	dir := exported(t, good)
	release := []byte("Origin: example\nSuite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\n" +
		"Date: Mon, 02 Mar 2026 12:00:00 UTC\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n")
	write(t, filepath.Join(dir, "repo/dists/stable/main/binary-amd64/Packages"), nil)
	for _, d := range []string{"etc/preferences.d", "state/lists/partial", "cache/archives/partial"} {
		must(0, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	write(t, filepath.Join(dir, "state/status"), nil)
	write(t, filepath.Join(dir, "sources.list"), []byte("deb [arch=amd64 signed-by="+dir+"/apt/example-keyring.gpg] file:"+dir+"/repo stable main\n"))
	// Read before everything else: with it nothing of this machine's settings is, such as hooks.
	write(t, filepath.Join(dir, "apt.conf"), []byte("Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n"))
	apt := []string{"env", "APT_CONFIG=" + dir + "/apt.conf", "apt-get", "update", "-o", "APT::Update::Error-Mode=any", "-o", "APT::Sandbox::User=", "-o", "Dir::Etc=" + dir + "/etc", "-o", "Dir::Etc::SourceList=" + dir + "/sources.list",
		"-o", "Dir::Etc::SourceParts=-", "-o", "Dir::State=" + dir + "/state", "-o", "Dir::State::status=" + dir + "/state/status", "-o", "Dir::Cache=" + dir + "/cache"}
	inRelease := filepath.Join(dir, "repo/dists/stable/InRelease")
	write(t, inRelease, must(openpgp.Clearsign(release, good.sign("openpgp-cleartext", release))))
	accepts(t, dir, "", apt...)
	write(t, inRelease, must(openpgp.Clearsign(release, other.sign("openpgp-cleartext", release))))
	if out := refuses(t, dir, "", apt...); !strings.Contains(out, "NO_PUBKEY") {
		t.Errorf("apt refuses for another reason:\n%s", out)
	}
}

// TestGPG: gpg imports the certificates, calls the file in the Web Key Directory as we do, and prints the fingerprints of
// the sheet.
func TestGPG(t *testing.T) {
	s := newSigner("Packages <Packages.Team@example.org>")
	dir := exported(t, s)
	gpg := []string{"gpg", "--homedir", filepath.Join(dir, "h"), "--batch", "--no-autostart", "--no-tty"}
	must(0, os.Mkdir(filepath.Join(dir, "h"), 0o700))
	accepts(t, dir, "", append(gpg, "--import", "example.asc")...)
	out := accepts(t, dir, "", append(gpg, "--list-keys", "--with-wkd-hash", "--with-fingerprint")...)
	m := regexp.MustCompile(`(?m)^\s+(\w{32})@example\.org$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("gpg lists no hash:\n%s", out)
	}
	for _, dir := range []string{filepath.Join(dir, wellKnown, "hu", m[1]), filepath.Join(dir, wellKnown, "example.org/hu", m[1])} {
		if list := accepts(t, filepath.Dir(dir), "", append(gpg, "--show-keys", "--with-colons", dir)...); !strings.Contains(list, s.fingerprint()) {
			t.Errorf("%s has not the key:\n%s", dir, list)
		}
	}
	sheet := string(must(os.ReadFile(filepath.Join(dir, "fingerprints.txt"))))
	printed := regexp.MustCompile(`[0-9A-F]{4}( {1,2}[0-9A-F]{4}){9}`).FindString(out)
	if printed == "" || !strings.Contains(sheet, printed) {
		t.Errorf("gpg prints %q, the sheet is\n%s", printed, sheet)
	}
}

// TestSSH: ssh-keygen believes the key in its namespace, and nothing else; its fingerprint is the sheet's.
func TestSSH(t *testing.T) {
	good, other := newSigner(""), newSigner("")
	dir := exported(t, good)
	write(t, filepath.Join(dir, "good.sig"), good.sign("sshsig-file", []byte(text)))
	write(t, filepath.Join(dir, "other.sig"), other.sign("sshsig-file", []byte(text)))
	write(t, filepath.Join(dir, "git.sig"), good.sign("sshsig-git", []byte(text)))
	verify := func(principal, namespace, sig string) []string {
		return []string{"ssh-keygen", "-Y", "verify", "-f", "ssh/allowed_signers", "-I", principal, "-n", namespace, "-s", sig}
	}
	accepts(t, dir, text, verify("release@example.org", "file", "good.sig")...)
	refuses(t, dir, text+"!", verify("release@example.org", "file", "good.sig")...)
	refuses(t, dir, text, verify("eve@example.org", "file", "good.sig")...)
	refuses(t, dir, text, verify("release@example.org", "file", "other.sig")...)
	refuses(t, dir, text, verify("release@example.org", "git", "git.sig")...) // not granted
	write(t, filepath.Join(dir, "key.pub"), []byte(sshsig.Public(good.cert.Key)+"\n"))
	words := strings.Fields(accepts(t, dir, "", "ssh-keygen", "-l", "-f", "key.pub"))
	if sheet := string(must(os.ReadFile(filepath.Join(dir, "fingerprints.txt")))); !strings.Contains(sheet, "ssh  "+words[1]+"\n") {
		t.Errorf("ssh-keygen prints %q, the sheet is\n%s", words, sheet)
	}
}

// TestOpenSSL: openssl verifies with the PEM file, and its digest of the key is the sheet's.
func TestOpenSSL(t *testing.T) {
	good, other := newSigner(""), newSigner("")
	dir := exported(t, good)
	pem := "pem/" + good.fingerprint() + ".pem"
	write(t, filepath.Join(dir, "file"), []byte(text))
	write(t, filepath.Join(dir, "good.sig"), good.sign("raw-test", []byte(text)))
	write(t, filepath.Join(dir, "other.sig"), other.sign("raw-test", []byte(text)))
	accepts(t, dir, "", "openssl", "dgst", "-sha256", "-verify", pem, "-signature", "good.sig", "file")
	refuses(t, dir, "", "openssl", "dgst", "-sha256", "-verify", pem, "-signature", "other.sig", "file")
	accepts(t, dir, "", "openssl", "pkey", "-pubin", "-in", pem, "-outform", "DER", "-out", "key.der")
	sum, _, _ := strings.Cut(accepts(t, dir, "", "sha256sum", "key.der"), " ")
	if sheet := string(must(os.ReadFile(filepath.Join(dir, "fingerprints.txt")))); !strings.Contains(sheet, "pem  "+sum+"\n") {
		t.Errorf("the key's digest is %s, the sheet is\n%s", sum, sheet)
	}
}
