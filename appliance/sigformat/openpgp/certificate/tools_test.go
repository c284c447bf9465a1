package certificate

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// token is a software key, and what it signs here.
type token struct{ *sigtest.Token }

var tokens = sync.OnceValue(func() (all []*token) {
	for _, k := range sigtest.Tokens() {
		all = append(all, &token{k})
	}
	return all
})

func (t *token) certificate(tb testing.TB) []byte {
	tb.Helper()
	cert, err := New(t.Key, "Test Packager <packager@touchmark.example>", t.Sign)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func (t *token) signature(tb testing.TB, alg message.Alg, data []byte) []byte {
	tb.Helper()
	p, err := sigformat.OpenPGPBinary.Plan(t.Key, sigtest.StateOf(alg, data), sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
	if err != nil {
		tb.Fatal(err)
	}
	return t.Seal(tb, p)
}

// TestBareCertificates: a key for no OpenPGP signatures has no certification, and
// gets none.
func TestBareCertificates(t *testing.T) {
	for _, k := range tokens() {
		c, err := Parse(NewBare(k.Key))
		if err != nil || !c.Bare() || c.Key.Fingerprint() != k.Fingerprint() || !bytes.Equal(c.Bytes(), NewBare(k.Key)) {
			t.Fatalf("%v, %+v", err, c)
		}
		if c.Fits(sigformat.FamilySSH) != nil || c.Fits(sigformat.FamilyOpenPGP) == nil || c.Usable(sigtest.When) != nil {
			t.Error("a bare certificate is for OpenPGP, or for nothing")
		}
		for _, x := range []Certification{renewal(sigtest.When, sigtest.When.AddDate(1, 0, 0)), {Created: sigtest.When, Revoke: true, Origin: sigtest.Origin}} {
			if _, err := c.Plan(x); err == nil {
				t.Errorf("the key certifies itself: %+v", x)
			}
		}
		whole, err := Parse(k.certificate(t))
		if err != nil || whole.Fits(sigformat.FamilyOpenPGP) != nil || whole.Fits(sigformat.FamilyRaw) == nil {
			t.Errorf("%v: a certificate of another family", err)
		}
	}
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
			file, sig := write("file", data), write("file.sig", k.signature(t, k.CertAlg(), data))
			first, err := Parse(k.certificate(t))
			if err != nil {
				t.Fatal(err)
			}
			expired, _ := k.certify(t, first, renewal(sigtest.When.Add(-time.Hour), sigtest.When.Add(time.Hour)))
			renewed, _ := k.certify(t, expired, renewal(sigtest.When.Add(time.Minute), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)))
			retired := k.revoked(t, renewed, Retired)
			lost := k.revoked(t, renewed, Compromised)
			for _, c := range []struct {
				name   string
				cert   *Certificate
				status string
				sqv    bool
			}{
				{"expired", expired, "EXPKEYSIG", true}, // sqv: it was good sigtest.When it signed
				{"renewed", renewed, "GOODSIG", true},
				{"retired", retired, "REVKEYSIG", true}, // likewise
				{"lost", lost, "REVKEYSIG", false},
			} {
				home := filepath.Join(dir, c.name)
				if err := os.Mkdir(home, 0o700); err != nil {
					t.Fatal(err)
				}
				cert := write(c.name+".asc", openpgp.Armor(c.cert.Bytes()))
				gpg := []string{"gpg", "--batch", "--no-autostart", "--status-fd", "1", "--faked-system-time", "20260602T000000"}
				if out, err := sigtest.Run(t, home, append(gpg, "--import", cert)...); err != nil {
					t.Fatalf("%s: gpg --import: %v\n%s", c.name, err, out)
				}
				if out, _ := sigtest.Run(t, home, append(gpg, "--verify", sig, file)...); !strings.Contains(out, c.status) {
					t.Errorf("%s: gpg does not say %s:\n%s", c.name, c.status, out)
				}
				if out, err := sigtest.Run(t, home, "sqv", "--keyring", cert, sig, file); (err == nil) != c.sqv {
					t.Errorf("%s: sqv: %v\n%s", c.name, err, out)
				}
			}
		})
	}
}
