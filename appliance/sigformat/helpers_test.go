package sigformat

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"sync"
	"testing"
	"time"

	"touchmark/hostlink/message"
)

const testOrigin = "touchmark.example/test"

var (
	born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	when = time.Date(2026, 3, 2, 8, 30, 15, 0, time.UTC)
	algs = []message.Alg{message.SHA256, message.SHA384, message.SHA512}
)

// token is a software key in the place of the hardware one.
type token struct {
	*Key
	signer crypto.Signer
}

func (t *token) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	if _, ed := t.signer.(ed25519.PrivateKey); ed {
		h = 0 // the message is the digest
	}
	return t.signer.Sign(rand.Reader, digest, h)
}

// tokens has one key of each type. Those of RSA, slow to make, are kept with the
// tests; they sign nothing else.
var tokens = sync.OnceValue(func() []*token {
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
	all := []*token{wrap(p256), wrap(keptKey("rsa2048")), wrap(p384), wrap(ed), wrap(keptKey("rsa3072")), wrap(keptKey("rsa4096"))}
	return all
})

func keptKey(name string) crypto.Signer {
	text, err := os.ReadFile("testdata/" + name + ".pem")
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

func wrap(s crypto.Signer) *token {
	k, err := NewKey(s.Public(), born)
	if err != nil {
		panic(err)
	}
	return &token{k, s}
}

func stateOf(alg message.Alg, data []byte) State {
	h := NewHasher(alg)
	h.Write(data)
	return h.State()
}

func (t *token) signature(tb testing.TB, s State) []byte {
	tb.Helper()
	return t.sealed(tb, OpenPGPBinary, s)
}

// sealed is a signature in any format.
func (t *token) sealed(tb testing.TB, f Format, s State) []byte {
	tb.Helper()
	p, err := f.Plan(t.Key, s, when, testOrigin, message.JobID{1, 2, 3})
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := t.sign(p.Signed())
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

func (t *token) certificate(tb testing.TB) []byte {
	tb.Helper()
	cert, err := NewCertificate(t.Key, "Test Packager <packager@touchmark.example>", t.sign)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// bits are the places at which b is changed to see that it matters: all, but
// fewer for the longer keys, whose signatures are of the same forms.
func (t *token) bits(b []byte) (at []int) {
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

// each runs f for every key type and every hash algorithm that goes with it.
func each(t *testing.T, f func(t *testing.T, k *token, alg message.Alg)) {
	for _, k := range tokens() {
		for _, alg := range algs {
			if k.Signs(alg) != nil {
				continue
			}
			t.Run(k.Algorithm()+"/"+string(alg), func(t *testing.T) { f(t, k, alg) })
		}
	}
}
