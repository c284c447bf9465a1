package device_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/swtpm"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

// A TPM from swtpm's own manufacturing: its certificate is read, its key
// activates credentials for the AK, before and after the authorizations are
// set.
func TestActivate(t *testing.T) {
	s := swtpm.StartCertified(t, t.TempDir())
	tpm := open(t, s, device.Config{})
	ak := enrol(t, tpm)
	der, err := tpm.EK(nil)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		t.Fatalf("a %T, swtpm_setup makes RSA-2048", cert.PublicKey)
	}
	activates(t, tpm, cert, ak, nil)
	for _, h := range device.Hierarchies() {
		must(t, tpm.SetAuth(h, authOf(h)))
		if err := tpm.SetAuth(h, authOf(h)); !errors.Is(err, device.ErrAuthSet) {
			t.Errorf("%s, which is set: %v", h, err)
		}
	}
	activates(t, tpm, cert, ak, authOf(device.Endorsement))
	c, _ := credential(t, cert, ak.Name())
	if _, err := tpm.Activate(c.Blob, c.Secret, nil); !errors.Is(err, device.ErrEndorsementLocked) {
		t.Errorf("without authorization: %v", err)
	}
	if _, err := tpm.Activate(c.Blob, c.Secret, authOf(device.Owner)); !errors.Is(err, device.ErrEndorsementLocked) {
		t.Errorf("with another authorization: %v", err)
	}
	if again, err := tpm.EK(authOf(device.Endorsement)); err != nil || !bytes.Equal(again, der) {
		t.Errorf("certificate read again: %v", err)
	}
	noTransients(t, s)
	// A running board needs none of them.
	must(t, tpm.ExtendHead(x1))
	must(t, tpm.ExtendPCR(x1))
	must(t, second(tpm.CertifyHead(x1)))
	must(t, second(tpm.QuotePCR(x1)))
	values(t, tpm, extend([32]byte{}, x1), extend([32]byte{}, x1))
}

// authOf is a hierarchy's authorization in these tests.
func authOf(h device.Hierarchy) []byte { return bytes.Repeat([]byte{byte(h + 1)}, device.AuthSize) }

func credential(t *testing.T, cert *x509.Certificate, name []byte) (*challenge.Credential, []byte) {
	t.Helper()
	c, err := challenge.New("touchmark.example/demo", time.Now(), rand.Reader)
	must(t, err)
	kept, err := c.Ask(cert.PublicKey, name, rand.Reader)
	must(t, err)
	return c.Credential, kept.Value[:]
}

func activates(t *testing.T, tpm *device.TPM, cert *x509.Certificate, ak *quote.AK, auth []byte) {
	t.Helper()
	c, secret := credential(t, cert, ak.Name())
	if got, err := tpm.Activate(c.Blob, c.Secret, auth); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%x, want %x: %v", got, secret, err)
	}
	c, _ = credential(t, cert, bytes.Repeat([]byte{1}, 34))
	if got, err := tpm.Activate(c.Blob, c.Secret, auth); !errors.Is(err, device.ErrCredential) {
		t.Errorf("a credential for another AK gave %x: %v", got, err)
	}
}

// A certificate of a P-256 key, as hardware has it, is preferred; one of
// another key is not taken for the TPM's.
func TestCertificates(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	if der, err := tpm.EK(nil); err != nil || der != nil {
		t.Errorf("without a certificate: %x, %v", der, err)
	}
	own := ekOf(t, s)
	cert := certify(t, own)
	inNV(t, s, append(cert, make([]byte, 700)...))
	der, err := tpm.EK(nil)
	if err != nil || !bytes.Equal(der, cert) {
		t.Errorf("%x, want %x: %v", der, cert, err)
	}
	ak := enrol(t, tpm)
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	activates(t, tpm, parsed, ak, nil)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c, _ := credential(t, &x509.Certificate{PublicKey: &stranger.PublicKey}, ak.Name())
	if _, err := tpm.Activate(c.Blob, c.Secret, nil); !errors.Is(err, device.ErrCredential) {
		t.Errorf("a credential for another EK: %v", err)
	}
	inNV(t, s, certify(t, &stranger.PublicKey))
	var foreign *device.ForeignEKError
	if der, err := tpm.EK(nil); !errors.As(err, &foreign) || der != nil {
		t.Errorf("another TPM's certificate: %x, %v", der, err)
	}
	inNV(t, s, []byte("no certificate"))
	if der, err := tpm.EK(nil); err == nil {
		t.Errorf("no certificate: %x", der)
	}
	noTransients(t, s)
}

// ekOf makes the P-256 endorsement key with the TPM's own tools.
func ekOf(t *testing.T, s *swtpm.Server) *ecdsa.PublicKey {
	t.Helper()
	dir := t.TempDir()
	if _, err := s.Tool("tpm2_createek", "-G", "ecc", "-c", dir+"/ek.ctx", "-u", dir+"/ek.pem", "-f", "der"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tool("tpm2_flushcontext", "-t"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(dir + "/ek.pem")
	must(t, err)
	pub, err := x509.ParsePKIXPublicKey(raw)
	must(t, err)
	return pub.(*ecdsa.PublicKey)
}

// certify makes some certificate of a key.
func certify(t *testing.T, pub *ecdsa.PublicKey) []byte {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "maker"}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, issuer)
	must(t, err)
	return der
}

// inNV writes the index of the P-256 certificate as a maker does.
func inNV(t *testing.T, s *swtpm.Server, data []byte) {
	t.Helper()
	const index = "0x01c0000a"
	if out, err := s.Tool("tpm2_getcap", "handles-nv-index"); err != nil {
		t.Fatal(err)
	} else if strings.Contains(strings.ToLower(out), "1c0000a") {
		if _, err := s.Tool("tpm2_nvundefine", "-C", "p", index); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "nv")
	must(t, os.WriteFile(file, data, 0o600))
	if _, err := s.Tool("tpm2_nvdefine", index, "-C", "p", "-s", fmt.Sprint(len(data)), "-a", "ppwrite|ppread|ownerread|authread|no_da|platformcreate"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tool("tpm2_nvwrite", index, "-C", "p", "-i", file); err != nil {
		t.Fatal(err)
	}
}

// An authorization that the TPM was given, or not, before something went wrong: who
// asks again sees which it is.
func TestAuthFaults(t *testing.T) {
	for nth := 1; nth <= 2; nth++ {
		for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose} {
			s := swtpm.Start(t)
			tpm := open(t, s, device.Config{})
			s.Fail(swtpm.Fault{Nth: nth, Kind: kind, RC: swtpm.RCFailure})
			if err := tpm.SetAuth(device.Lockout, authOf(device.Lockout)); err == nil {
				t.Errorf("command %d, kind %d: no error", nth, kind)
			}
			set, err := tpm.AuthSet(device.Lockout)
			must(t, err)
			if applied := nth == 2 && (kind == swtpm.ApplyAndRefuse || kind == swtpm.ApplyAndClose); set != applied {
				t.Errorf("command %d, kind %d: set %v", nth, kind, set)
			}
			if !set {
				must(t, tpm.SetAuth(device.Lockout, authOf(device.Lockout)))
			}
			if set, err := tpm.AuthSet(device.Owner, device.Lockout); err != nil || !set {
				t.Errorf("command %d, kind %d: %v, %v", nth, kind, set, err)
			}
			if _, err := s.Tool("tpm2_clear", "-c", "l", "hex:"+fmt.Sprintf("%x", authOf(device.Lockout))); err != nil {
				t.Errorf("command %d, kind %d: %v", nth, kind, err)
			}
			must(t, s.Stop())
		}
	}
}

func TestMaker(t *testing.T) {
	m, err := open(t, swtpm.Start(t), device.Config{}).Maker()
	if err != nil || !m.Simulated() || m.Manufacturer != "IBM" || !strings.Contains(m.Vendor, "SW") {
		t.Errorf("%+v, %v", m, err)
	}
}
