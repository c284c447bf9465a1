//go:build emulated && !pcscd

package enrol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor"
)

// listed is what gpg says of a certificate that it is shown, in colons.
func listed(t *testing.T, cert []byte) string {
	t.Helper()
	path, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatalf("%v: run \"make setup\"", err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--homedir", t.TempDir(), "--batch", "--with-colons", "--show-keys")
	cmd.Stdin = bytes.NewReader(cert)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg: %v\n%s", err, said.Bytes())
	}
	return string(out)
}

// revocable is a rig whose certificates expire, and whose auditors get revocations.
func revocable(t *testing.T) (*rig, *age.X25519Identity) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.PolicyNote = twoKeyPolicy(t)
	id, err := age.GenerateX25519Identity()
	ok(t, err)
	r.cfg.Revocations = &Revocations{Dir: t.TempDir(), To: []age.Recipient{id.Recipient()}}
	r.cfg.Expires = r.cfg.Now.AddDate(2, 0, 0)
	return r, id
}

// Each key's certificate expires when it shall, and each has a revocation that the
// auditors alone can read; gpg takes both, and the trust file may take the latter.
func TestRevocationCertificates(t *testing.T) {
	r, id := revocable(t)
	trust, err := Run(t.Context(), r.cfg)
	ok(t, err)
	if _, err := anchor.OpenTrust(mustRead(t, filepath.Join(r.cfg.TrustDir, "trust"))); err != nil || len(trust.Certs) != 2 {
		t.Fatalf("%d certificates, %v", len(trust.Certs), err)
	}
	for _, raw := range trust.Certs {
		cert, err := certificate.Parse(raw)
		ok(t, err)
		if !cert.Expires.Equal(r.cfg.Expires) || cert.Revoked || !cert.Fresh() {
			t.Errorf("expires %s, revoked %v", cert.Expires, cert.Revoked)
		}
		if says := listed(t, raw); !strings.Contains(says, fmt.Sprintf(":%d:", r.cfg.Expires.Unix())) || !strings.HasPrefix(says, "pub:-") {
			t.Errorf("gpg says %s", says)
		}
		text, err := sealed.Read(filepath.Join(r.cfg.Revocations.Dir, RevocationFile(cert.Key.Fingerprint())), strings.NewReader(id.String()))
		ok(t, err)
		if says := listed(t, text); !strings.HasPrefix(says, "pub:r:") {
			t.Errorf("gpg says %s", says)
		}
	}
	if told := mustRead(t, r.cfg.Transcript); bytes.Count(told, []byte("revocation  of key")) != 2 {
		t.Errorf("the transcript says\n%s", told)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return b
}

// A ceremony that was cut short makes no second revocation of a key that has one.
func TestRevocationIsMadeOnce(t *testing.T) {
	r, _ := revocable(t)
	c := &ceremony{Config: r.cfg}
	made := func() []string {
		files, err := filepath.Glob(filepath.Join(r.cfg.Revocations.Dir, "revocation-*.age"))
		ok(t, err)
		return files
	}
	c.hook = func() error {
		if len(made()) == 1 {
			return errKilled
		}
		return nil
	}
	if _, err := c.run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	first := mustRead(t, made()[0])
	name := made()[0]
	r.cfg.Now = r.cfg.Now.Add(time.Hour)
	_, err := Run(t.Context(), r.cfg)
	ok(t, err)
	if !bytes.Equal(first, mustRead(t, name)) || len(made()) != 2 {
		t.Errorf("%d files, or another one", len(made()))
	}
}
