package sigformat

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"sync"
	"testing"
	"time"

	"touchmark/hostlink/message"
)

const testOrigin = "touchmark.example/test"

var (
	born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	when = time.Date(2026, 3, 2, 8, 30, 15, 0, time.UTC)
	algs = []message.Alg{message.SHA256, message.SHA512}
)

// token is a software key in the place of the hardware one.
type token struct {
	*Key
	signer crypto.Signer
}

func (t *token) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	return t.signer.Sign(rand.Reader, digest, h)
}

// tokens makes one key of each type, once per test binary: RSA is slow to make.
var tokens = sync.OnceValue(func() []*token {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		panic(err)
	}
	return []*token{wrap(ec), wrap(rs)}
})

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
	p, err := PlanOpenPGP(t.Key, s, when, testOrigin, message.JobID{1, 2, 3})
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := t.sign(p.Digest, p.Alg.Hash())
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

// each runs f for every key type and hash algorithm.
func each(t *testing.T, f func(t *testing.T, k *token, alg message.Alg)) {
	for _, k := range tokens() {
		for _, alg := range algs {
			t.Run(k.Algorithm()+"/"+string(alg), func(t *testing.T) { f(t, k, alg) })
		}
	}
}
