package sigformat

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
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
	b.cert, b.ring = b.write("cert.asc", Armor(der)), b.write("cert.pgp", der)
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
	return run(b.t, b.home, append([]string{tool}, args...)...)
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
func (b *bench) judge(k *token, f Format, alg message.Alg, doc []byte) {
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
	binary, armored := b.write("file.sig", sig), b.write("file.asc", ArmorSignature(sig))
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
	data, err := Clearsign(doc, sig)
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
func (b *bench) openssl(k *token, f Format, s State, sig []byte) {
	b.t.Helper()
	p, err := f.Plan(k.Key, s, when, testOrigin, message.JobID{1, 2, 3})
	if err != nil {
		b.t.Fatal(err)
	}
	parsed, err := ParseSignature(sig)
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

func opensslForm(t *testing.T, k *token, s *Signature, digest []byte) (raw, over []byte, options []string) {
	switch kind := k.kind.(type) {
	case rsaType:
		return padded(s.values[0], int(kind)/8), digest, []string{"-pkeyopt", "rsa_padding_mode:pkcs1", "-pkeyopt", "digest:" + string(s.Alg)}
	case edType:
		return append(padded(s.values[0], 32), padded(s.values[1], 32)...), digest, []string{"-rawin"}
	case ecType:
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(s.values[0]), new(big.Int).SetBytes(s.values[1])})
		if err != nil {
			t.Fatal(err)
		}
		return der, digest[:min(len(digest), kind.width())], nil
	}
	t.Fatalf("%T", k.kind)
	return nil, nil, nil
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
			file, sig := write("file", data), write("file.sig", k.signature(t, stateOf(k.certAlg(), data)))
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
