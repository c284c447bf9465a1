package device_test

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/tpm/quote"
)

// run runs a program that is not ours and returns what it says.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

func pemOf(t *testing.T, ak *quote.AK) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(ak.Public())
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestOpenSSL verifies both attestations with `openssl dgst -verify`.
func TestOpenSSL(t *testing.T) {
	_, tpm, ak := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	certify, err := tpm.CertifyHead(quote.CertifyTag(x1))
	must(t, err)
	quoted, err := tpm.QuotePCR(quote.QuoteTag(x1))
	must(t, err)
	dir := t.TempDir()
	key := write(t, dir, "ak.pem", pemOf(t, ak))
	for _, a := range []quote.Attestation{certify, quoted} {
		r, s, err := quote.ParseSignature(a.Sig)
		must(t, err)
		der, err := asn1.Marshal([]*big.Int{r, s})
		must(t, err)
		sig := write(t, dir, "sig", der)
		good := write(t, dir, "attest", a.Attest)
		if out, err := run(t, "openssl", "dgst", "-sha256", "-verify", key, "-signature", sig, good); err != nil || !strings.Contains(out, "Verified OK") {
			t.Errorf("openssl refuses: %v: %s", err, out)
		}
		a.Attest[len(a.Attest)-1] ^= 1
		bad := write(t, dir, "bad", a.Attest)
		if out, err := run(t, "openssl", "dgst", "-sha256", "-verify", key, "-signature", sig, bad); err == nil {
			t.Errorf("openssl accepts a changed attestation: %s", out)
		}
	}
}

// TestCheckQuote verifies a quote with tpm2_checkquote, which knows nothing
// of us, against the PCR values that tpm2_quote itself would have saved.
func TestCheckQuote(t *testing.T) {
	s, tpm, ak := enrolled(t)
	must(t, tpm.ExtendPCR(x1))
	tag := quote.QuoteTag(x1)
	a, err := tpm.QuotePCR(tag)
	must(t, err)
	pcr, err := tpm.PCR()
	must(t, err)
	dir := t.TempDir()
	if _, err := s.Tool("tpm2_pcrread", "sha256:14", "-o", filepath.Join(dir, "pcrs")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "pcrs"))
	must(t, err)
	if string(raw) != string(pcr[:]) {
		t.Fatalf("tpm2_pcrread says %x, we say %x", raw, pcr)
	}
	check := func(nonce [32]byte) (string, error) {
		return run(t, "tpm2_checkquote", "-u", write(t, dir, "ak.pem", pemOf(t, ak)),
			"-m", write(t, dir, "attest", a.Attest), "-s", write(t, dir, "sig", a.Sig),
			"-f", filepath.Join(dir, "pcrs"), "-l", "sha256:14", "-g", "sha256", "-q", hexOf(nonce[:]))
	}
	if out, err := check(tag); err != nil {
		t.Errorf("tpm2_checkquote refuses: %v: %s", err, out)
	}
	if out, err := check(quote.QuoteTag(x2)); err == nil {
		t.Errorf("tpm2_checkquote accepts another tag: %s", out)
	}
}

// TestNames compares the Names that quote computes with those of tpm2-tools.
func TestNames(t *testing.T) {
	s, tpm, ak := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	out, err := s.Tool("tpm2_nvreadpublic", "0x01800100")
	must(t, err)
	if !strings.Contains(out, hexOf(quote.HeadName(0x01800100))) {
		t.Errorf("HEAD's Name is not %x:\n%s", quote.HeadName(0x01800100), out)
	}
	out, err = s.Tool("tpm2_readpublic", "-c", "0x81010010")
	must(t, err)
	for what, want := range map[string][]byte{"Name": ak.Name(), "qualified name": ak.QualifiedName()} {
		if !strings.Contains(out, hexOf(want)) {
			t.Errorf("the AK's %s is not %x:\n%s", what, want, out)
		}
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
