package sigformat_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// bench is a directory with a certificate for gpg, gpgv, sqv and openssl.
type bench struct {
	t         *testing.T
	dir, home string
	cert      string // armored
	ring      string // binary
}

func newBench(t *testing.T, k *token) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.home = filepath.Join(b.dir, "gnupg")
	if err := os.Mkdir(b.home, 0o700); err != nil {
		t.Fatal(err)
	}
	der := k.certificate(t)
	b.cert, b.ring = b.write("cert.asc", openpgp.Armor(der)), b.write("cert.pgp", der)
	if out, err := b.run("gpg", "--import", b.cert); err != nil || !strings.Contains(out, "IMPORT_OK 1") {
		t.Fatalf("gpg --import: %v\n%s", err, out)
	}
	return b
}

func (b *bench) write(name string, data []byte) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// run calls a verifier with what it needs to know the certificate.
func (b *bench) run(tool string, args ...string) (string, error) {
	b.t.Helper()
	switch tool {
	case "gpg":
		args = append([]string{"--batch", "--no-autostart", "--status-fd", "1"}, args...)
	case "gpgv":
		args = append([]string{"--status-fd", "1", "--keyring", b.ring}, args...)
	case "sqv":
		args = append([]string{"--keyring", b.cert}, args...)
	}
	return sigtest.Run(b.t, b.home, append([]string{tool}, args...)...)
}

// TestFormatsInTools: every format with every key type and hash verifies in
// GnuPG, gpgv, Sequoia's sqv (which knows detached ones) and openssl, and changed
// data does not.
func TestFormatsInTools(t *testing.T) {
	benches := map[*token]*bench{}
	for _, k := range tokens() {
		benches[k] = newBench(t, k)
	}
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		b := benches[k]
		for _, f := range openPGP {
			for _, doc := range []string{"package database\n", "- a \t\n\nFrom b\r\n--\nC\u00e9 \n \n", "no end"} {
				b.t = t
				b.judge(k, f, alg, []byte(doc))
			}
		}
	})
}

// judge has the tools look at one signature over a document.
func (b *bench) judge(k *token, f sigformat.Format, alg message.Alg, doc []byte) {
	b.t.Helper()
	s, err := f.Digest(alg, bytes.NewReader(doc))
	if err != nil {
		b.t.Fatal(err)
	}
	sig := k.sealed(b.t, f, s)
	b.openssl(k, f, s, sig)
	if f.Cleartext() {
		b.clear(doc, sig)
		return
	}
	file, bad := b.write("file", doc), b.write("bad", append([]byte("!"), doc...))
	binary, armored := b.write("file.sig", sig), b.write("file.asc", openpgp.ArmorSignature(sig))
	out, err := b.run("gpg", "--verify", armored, file)
	if err != nil || !strings.Contains(out, "VALIDSIG") || !strings.Contains(out, "NOTATION_NAME touchmark@touchmark.example") {
		b.t.Fatalf("%s, %q: gpg: %v\n%s", f.Name, doc, err, out)
	}
	for _, tool := range []string{"gpgv", "sqv"} {
		if out, err := b.run(tool, binary, file); err != nil {
			b.t.Fatalf("%s, %q: %s: %v\n%s", f.Name, doc, tool, err, out)
		}
		if out, err := b.run(tool, armored, bad); err == nil {
			b.t.Fatalf("%s: %s accepts changed data:\n%s", f.Name, tool, out)
		}
	}
}

// clear has them look at a text with its signature.
func (b *bench) clear(doc, sig []byte) {
	b.t.Helper()
	data, err := openpgp.Clearsign(doc, sig)
	if err != nil {
		b.t.Fatal(err)
	}
	file, bad := b.write("InRelease", data), b.write("bad.asc", bytes.Replace(data, []byte("\n\n"), []byte("\n\n!"), 1))
	for tool, args := range map[string][]string{"gpg": {"--verify", file}, "gpgv": {file}} {
		if out, err := b.run(tool, args...); err != nil || !strings.Contains(out, "VALIDSIG") {
			b.t.Fatalf("%q: %s: %v\n%s", data, tool, err, out)
		}
		args[len(args)-1] = bad
		if out, err := b.run(tool, args...); err == nil || !strings.Contains(out, "BADSIG") {
			b.t.Fatalf("%s accepts changed text:\n%s", tool, out)
		}
	}
}

// openssl checks the mathematics: the integers of the packet over the digest
// that the token signed.
func (b *bench) openssl(k *token, f sigformat.Format, s hashstate.State, sig []byte) {
	b.t.Helper()
	p, err := f.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
	if err != nil {
		b.t.Fatal(err)
	}
	parsed, err := openpgp.ParseSignature(sig)
	if err != nil {
		b.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, digest, options := opensslForm(b.t, k, parsed, p.Digest)
	args := []string{"pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", b.write("key.der", der), "-sigfile", b.write("raw", raw), "-in", b.write("digest", digest)}
	if out, err := b.run("openssl", append(args, options...)...); err != nil {
		b.t.Fatalf("openssl: %v\n%s", err, out)
	}
}

func opensslForm(t *testing.T, k *token, s *openpgp.Signature, digest []byte) (raw, over []byte, options []string) {
	value, err := s.Value(k.Key)
	if err != nil {
		t.Fatal(err)
	}
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		return value, digest, []string{"-pkeyopt", "rsa_padding_mode:pkcs1", "-pkeyopt", "digest:" + string(s.Alg)}
	case ed25519.PublicKey:
		return value, digest, []string{"-rawin"}
	case *ecdsa.PublicKey:
		width := len(value) / 2
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(value[:width]), new(big.Int).SetBytes(value[width:])})
		if err != nil {
			t.Fatal(err)
		}
		return der, digest[:min(len(digest), width)], nil
	default:
		t.Fatalf("%T", pub)
		return nil, nil, nil
	}
}
