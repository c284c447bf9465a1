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

// owner is a gpg with a primary key that is kept away from the board.
type owner struct {
	r    *rig
	home string
}

func newOwner(r *rig) owner {
	r.t.Helper()
	home, err := os.MkdirTemp("", "gnupg") // short: the agent's socket is in it
	r.must(err)
	o := owner{r, home}
	r.t.Cleanup(func() {
		_ = o.command("gpgconf", "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	return o
}

func (o owner) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(o.r.ctx, program, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+o.home, "LC_ALL=C")
	return cmd
}

func (o owner) gpg(args ...string) string {
	o.r.t.Helper()
	cmd := o.command("gpg", append([]string{"--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		o.r.t.Fatalf("gpg %v: %v (is it there? run \"make setup\")", args, err)
	}
	return string(out)
}

// TestSigningSubkey: the token's key becomes a signing subkey of a primary that gpg holds elsewhere. Administrators order
// it, the token agrees by a touch, the request comes out of the audited log, the owner binds it; gpg, gpgv and sqv then take
// files by the token for the primary's, and the log is as clean as before.
func TestSigningSubkey(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	o := newOwner(r)
	o.gpg("--quick-gen-key", "Release <release@touchmark.example>", "ed25519", "cert", "0")
	primary := r.text("primary.asc", o.gpg("--export", "--armor"))
	secret := r.text("secret.asc", o.gpg("--export-secret-keys", "--armor"))
	r.certifies(r.order("cert", "--key", "packages", "--bind", primary), "agreed to be a subkey of")
	r.client(api.OK, "publish")
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "certificate", r.Mirror, "--trust", r.Trust, "--name", "packages", "--binding", "--quiet")
	r.must(err)
	if res.Code != 0 {
		t.Fatal(res.Stderr)
	}
	request, cert := r.text("packages.binding", res.Stdout), filepath.Join(r.work, "release.asc")
	r.client(api.Usage, "bind", request)
	r.client(api.BadInput, "bind", "--secret-key", primary, "--out", cert, request)
	r.client(api.BadInput, "bind", "--secret-key", secret, "--out", cert, primary)
	r.client(api.OK, "bind", "--secret-key", secret, "--expires", "2099-01-01T00:00:00Z", "--out", cert, request)
	r.client(api.OK, "bind", "--secret-key", secret, "--out", cert, request)
	file := r.file("file.bin", 100)
	r.sign(nil, file) // behind the binding: tools judge by the one of then

	other := newOwner(r)
	other.gpg("--import", cert)
	if says := other.gpg("--status-fd", "1", "--verify", file+".sig", file); !strings.Contains(says, "GOODSIG") {
		t.Errorf("gpg says\n%s", says)
	}
	ring := r.text("ring.gpg", other.gpg("--export"))
	for _, judge := range [][]string{{"gpgv", "--keyring", ring}, {"sqv", "--keyring", cert}} {
		if out, err := r.judge("", append(judge, file+".sig", file)...); err != nil {
			t.Errorf("%s: %v\n%s", judge[0], err, out)
		}
	}
	r.clean()
}
