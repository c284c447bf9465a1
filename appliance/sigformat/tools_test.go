package sigformat

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/message"
)

// run executes a verifier that nobody here wrote. A missing one is a failure.
func run(t *testing.T, home string, argv ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatalf("%v: run \"make setup\"", err)
	}
	cmd := exec.CommandContext(t.Context(), path, argv[1:]...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+home, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestGPGAndSqv: the certificate imports, the signature verifies, changed data
// does not, in GnuPG and in Sequoia's sqv.
func TestGPGAndSqv(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		dir := t.TempDir()
		write := func(name string, data []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		home := filepath.Join(dir, "gnupg")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte("package database "), 999)
		cert := write("cert.asc", Armor(k.certificate(t)))
		file, bad := write("file", data), write("bad", append(data, '!'))
		sig := write("file.sig", k.signature(t, stateOf(alg, data)))

		gpg := func(args ...string) (string, error) {
			return run(t, home, append([]string{"gpg", "--batch", "--no-autostart", "--status-fd", "1"}, args...)...)
		}
		if out, err := gpg("--import", cert); err != nil || !strings.Contains(out, "IMPORT_OK 1") {
			t.Fatalf("gpg --import: %v\n%s", err, out)
		}
		out, err := gpg("--verify", sig, file)
		if err != nil || !strings.Contains(out, "VALIDSIG") || !strings.Contains(out, "NOTATION_NAME touchmark@touchmark.example") {
			t.Fatalf("gpg --verify: %v\n%s", err, out)
		}
		if out, err := gpg("--verify", sig, bad); err == nil || !strings.Contains(out, "BADSIG") {
			t.Fatalf("gpg accepts changed data:\n%s", out)
		}
		if out, err := run(t, home, "sqv", "--keyring", cert, sig, file); err != nil {
			t.Fatalf("sqv: %v\n%s", err, out)
		}
		if out, err := run(t, home, "sqv", "--keyring", cert, sig, bad); err == nil {
			t.Fatalf("sqv accepts changed data:\n%s", out)
		}
	})
}

// TestRenewalAndRevocationInTools: gpg and sqv believe a renewal and a
// revocation. gpg is
// given a time; sqv judges by that of the signature.
func TestRenewalAndRevocationInTools(t *testing.T) {
	for _, k := range tokens() {
		t.Run(k.Algorithm(), func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			data := []byte("package database")
			file, sig := write("file", data), write("file.sig", k.signature(t, stateOf(message.SHA256, data)))
			first, err := ParseCertificate(k.certificate(t))
			if err != nil {
				t.Fatal(err)
			}
			expired, _ := k.certify(t, first, renewal(when.Add(-time.Hour), when.Add(time.Hour)))
			renewed, _ := k.certify(t, expired, renewal(when.Add(time.Minute), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)))
			retired := k.revoked(t, renewed, Retired)
			lost := k.revoked(t, renewed, Compromised)
			for _, c := range []struct {
				name   string
				cert   *Certificate
				status string
				sqv    bool
			}{
				{"expired", expired, "EXPKEYSIG", true}, // sqv: it was good when it signed
				{"renewed", renewed, "GOODSIG", true},
				{"retired", retired, "REVKEYSIG", true}, // likewise
				{"lost", lost, "REVKEYSIG", false},
			} {
				home := filepath.Join(dir, c.name)
				if err := os.Mkdir(home, 0o700); err != nil {
					t.Fatal(err)
				}
				cert := write(c.name+".asc", Armor(c.cert.Bytes()))
				gpg := []string{"gpg", "--batch", "--no-autostart", "--status-fd", "1", "--faked-system-time", "20260602T000000"}
				if out, err := run(t, home, append(gpg, "--import", cert)...); err != nil {
					t.Fatalf("%s: gpg --import: %v\n%s", c.name, err, out)
				}
				if out, _ := run(t, home, append(gpg, "--verify", sig, file)...); !strings.Contains(out, c.status) {
					t.Errorf("%s: gpg does not say %s:\n%s", c.name, c.status, out)
				}
				if out, err := run(t, home, "sqv", "--keyring", cert, sig, file); (err == nil) != c.sqv {
					t.Errorf("%s: sqv: %v\n%s", c.name, err, out)
				}
			}
		})
	}
}
