package sigformat_test

import (
	"sync"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
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

func (t *token) signature(tb testing.TB, s hashstate.State) []byte {
	tb.Helper()
	return t.sealed(tb, sigformat.OpenPGPBinary, s)
}

// sealed is a signature in any format.
func (t *token) sealed(tb testing.TB, f sigformat.Format, s hashstate.State) []byte {
	tb.Helper()
	p, err := f.Plan(t.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
	if err != nil {
		tb.Fatal(err)
	}
	return t.Seal(tb, p)
}

func (t *token) certificate(tb testing.TB) []byte {
	tb.Helper()
	cert, err := certificate.New(t.Key, "Test Packager <packager@touchmark.example>", t.Sign)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// each runs f for every key type and every hash algorithm that goes with it.
func each(t *testing.T, f func(t *testing.T, k *token, alg message.Alg)) {
	for _, k := range tokens() {
		for _, alg := range sigtest.Algs {
			if k.Signs(alg) != nil {
				continue
			}
			t.Run(k.Algorithm()+"/"+string(alg), func(t *testing.T) { f(t, k, alg) })
		}
	}
}

// fpr is a key's fingerprint as a slice.
func fpr(k *token) []byte {
	b := k.Fingerprint()
	return b[:]
}
