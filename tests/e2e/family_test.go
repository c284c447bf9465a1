package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// threeFamilies gives the policy a key for SSH signatures of git and one for raw ones of boot images.
func threeFamilies(text string) string {
	keys := `[[key]]
name = "tags"
slot = "9a"
family = "sshsig"
algorithm = "ed25519"

[[key]]
name = "boot"
slot = "82"
family = "raw"
algorithm = "rsa2048"

`
	class := func(name, key, pattern, format string) string {
		return "\n[[class]]\nname = \"" + name + "\"\nkeys = [\"" + key + "\"]\nhosts = [\"repo1\"]\nnames = [\"" + pattern + "\"]\nformats = [\"" + format +
			"\"]\nmax_size = \"1GiB\"\nrates = [\"60/1h\"]\napprovals = 0\nbatch = 4\n"
	}
	return strings.Replace(text, "[[class]]", keys+"[[class]]", 1) + class("git", "tags", "*.commit", "sshsig-git") + class("boot", "boot", "*.img", "raw-boot")
}

// judge runs a program that nobody here wrote, with this on its standard input.
func (r *rig) judge(stdin string, argv ...string) (string, error) {
	r.t.Helper()
	if strings.HasPrefix(argv[0], "in-toto-") { // its library gives gpg three seconds, and a busy machine may take longer
		argv = append([]string{filepath.Join(r.Bin, "touchmark-wait")}, argv...)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		r.t.Fatalf("%v: run \"make setup\"", err)
	}
	cmd := exec.CommandContext(r.ctx, path, argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestKeyFamilies: one board, three keys, each for signatures of its family and no other's. ssh-keygen, openssl and gpg
// judge, and what is asked of the wrong key is refused before anybody sees it.
func TestKeyFamilies(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Profile: "5.7.1", Policy: threeFamilies})
	const commit = "tree 0123\n\na commit\n"
	tag := r.text("a.commit", commit)
	image := r.text("boot.img", "an image")
	plain := r.file("plain.bin", 100)
	r.sign(nil, plain)
	r.consumers(plain)

	r.sign([]string{"--format", "sshsig-git", "--hash", "sha512"}, tag)
	signers := r.text("allowed_signers", "packager "+sshLine(r))
	ssh := []string{"ssh-keygen", "-Y", "verify", "-f", signers, "-I", "packager", "-s", tag + ".sig", "-n"}
	if out, err := r.judge(commit, append(ssh, "git")...); err != nil {
		t.Errorf("ssh-keygen: %v\n%s", err, out)
	}
	if out, err := r.judge(commit, append(ssh, "file")...); err == nil {
		t.Errorf("ssh-keygen takes it for another namespace:\n%s", out)
	}

	r.sign([]string{"--format", "raw-boot"}, image)
	public := r.text("boot.pem", rawPEM(r))
	if out, err := r.judge("", "openssl", "dgst", "-sha256", "-verify", public, "-signature", image+".sig", image); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}

	for _, wrong := range [][]string{
		{"--class", "git"}, {"--class", "git", "--format", "openpgp-text"}, {"--class", "git", "--format", "sshsig-file", "--hash", "sha512"},
		{"--class", "git", "--format", "raw-boot"}, {"--class", "anything", "--format", "sshsig-git", "--hash", "sha512"}, {"--class", "anything", "--format", "raw-boot"},
		{"--class", "git", "--format", "sshsig-git", "--hash", "sha384"},
	} {
		r.ask(wrong, r.text("x.commit", commit)).end(api.Refused)
	}
	r.clean()
	r.says("touchmark-audit", 3, "none of these keys makes OpenPGP signatures", "certificate", r.Mirror, "--trust", r.Trust, "--name", "tags", "--quiet")
	r.compared(tag, image, plain)
}

// sshLine and rawPEM are the public keys as touchmark keyring show prints them: the log has two that are not for OpenPGP.
func sshLine(r *rig) string {
	for line := range strings.Lines(r.client(api.OK, "keyring", "show", "--ssh").Stdout) {
		if strings.HasPrefix(line, "ssh-ed25519 ") {
			return line
		}
	}
	r.t.Fatal("no SSH key")
	return ""
}

func rawPEM(r *rig) string {
	all := r.client(api.OK, "keyring", "show", "--pem").Stdout
	const end = "-----END PUBLIC KEY-----\n"
	_, second, ok := strings.Cut(all, end)
	if !ok {
		r.t.Fatalf("no two keys:\n%s", all)
	}
	return second
}

// compared has the auditor, after clean, find each of these files, and nothing else, among what was published.
func (r *rig) compared(files ...string) {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "repo")
	r.must(os.Mkdir(dir, 0o755))
	for _, f := range files {
		for _, suffix := range []string{"", ".sig"} {
			b, err := os.ReadFile(f + suffix)
			r.must(err)
			r.must(os.WriteFile(filepath.Join(dir, filepath.Base(f)+suffix), b, 0o644))
		}
	}
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "published", dir, "--log", r.Mirror, "--trust", r.Trust, "--all")
	r.must(err)
	if n := strings.Count("\n"+res.Stdout, "\npublished "); res.Code != 0 || n != len(files) {
		r.t.Errorf("exit code %d, %d signatures of %d:\n%s%s", res.Code, n, len(files), res.Stdout, res.Stderr)
	}
}
