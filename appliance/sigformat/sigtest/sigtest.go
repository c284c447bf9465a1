// Package sigtest has software keys in the place of tokens, one of each type, for the
// tests of signatures.
package sigtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// Origin is the log that signatures in tests name.
const Origin = "touchmark.example/test"

// When keys were made, when they sign, and the hashes that there are.
var (
	Born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	When = time.Date(2026, 3, 2, 8, 30, 15, 0, time.UTC)
	Algs = []message.Alg{message.SHA256, message.SHA384, message.SHA512}
)

// Token is a software key in the place of the hardware one.
type Token struct {
	*signing.Key
	Signer crypto.Signer
}

// Sign answers as a token does.
func (t *Token) Sign(digest []byte, h crypto.Hash) ([]byte, error) {
	if _, ed := t.Signer.(ed25519.PrivateKey); ed {
		h = 0 // the message is the digest
	}
	return t.Signer.Sign(rand.Reader, digest, h)
}

// Seal is the signature that was planned.
func (t *Token) Seal(tb testing.TB, p *signing.Plan) []byte {
	tb.Helper()
	raw, err := t.Sign(p.Signed())
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

// Tokens has one key of each type: P-256, RSA-2048, P-384, Ed25519, RSA-3072, RSA-4096.
// Those of RSA, slow to make, are kept with the tests; they sign nothing else.
var Tokens = sync.OnceValue(func() []*Token {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return []*Token{wrap(p256), wrap(keptKey("rsa2048")), wrap(p384), wrap(ed), wrap(keptKey("rsa3072")), wrap(keptKey("rsa4096"))}
})

//go:embed testdata/*.pem
var kept embed.FS

func keptKey(name string) crypto.Signer {
	text, err := kept.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return key.(crypto.Signer)
}

func wrap(s crypto.Signer) *Token {
	k, err := signing.NewKey(s.Public(), Born)
	if err != nil {
		panic(err)
	}
	return &Token{k, s}
}

// StateOf is the hash state of data.
func StateOf(alg message.Alg, data []byte) hashstate.State {
	h := hashstate.New(alg)
	h.Write(data)
	return h.State()
}

// Bits are the places at which b is changed to see that it matters: all, but
// fewer for the longer keys, whose signatures are of the same forms.
func (t *Token) Bits(b []byte) (at []int) {
	step := 1
	switch t.Algorithm() {
	case "p256", "ed25519":
	case "p384":
		step = 9
	default:
		step = 41
	}
	for i := 0; i < len(b)*8; i += step {
		at = append(at, i)
	}
	return at
}

// Run executes a verifier that nobody here wrote, with an empty or its own GnuPG home. A missing one is a failure.
func Run(t *testing.T, home string, argv ...string) (string, error) {
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

// Keyring is a certificate as go-crypto reads it.
func Keyring(tb testing.TB, cert []byte) openpgp.EntityList {
	tb.Helper()
	ring, err := openpgp.ReadKeyRing(bytes.NewReader(cert))
	if err != nil {
		tb.Fatalf("go-crypto does not read the certificate: %v", err)
	}
	return ring
}
