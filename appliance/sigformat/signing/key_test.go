package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

func TestKeysRefused(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := sigtest.Tokens()[1].Public.(*rsa.PublicKey)
	for name, pub := range map[string]any{
		"P-521": p521.Public(), "short Ed25519": ed25519.PublicKey{1}, "RSA-1024": small.Public(), "nil": nil, "nil RSA": (*rsa.PublicKey)(nil),
		"exponent 3": &rsa.PublicKey{N: good.N, E: 3}, "string": "key", "nil EC": (*ecdsa.PublicKey)(nil),
	} {
		if _, err := signing.NewKey(pub, sigtest.Born); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for _, at := range []time.Time{{}, time.Date(2020, 1, 1, 0, 0, -1, 0, time.UTC), time.Unix(1<<32, 0), sigtest.Born.Add(time.Millisecond)} {
		if _, err := signing.NewKey(good, at); err == nil {
			t.Errorf("creation time %s accepted", at)
		}
	}
}

// TestLongIntegers: a signature whose integers are longer than the key's is bad,
// whichever type they would fit.
func TestLongIntegers(t *testing.T) {
	long := bytes.Repeat([]byte{0x7f}, 600)
	for _, k := range sigtest.Tokens() {
		count, size := k.Shape()
		for _, n := range []int{1, size, size + 1, 600} {
			values := slices.Repeat([][]byte{long[:n]}, count)
			if k.Verify(message.SHA512, make([]byte, 64), values) == nil || k.Verify(message.SHA512, make([]byte, 64), values[:count-1]) == nil {
				t.Errorf("%s: integers of %d bytes", k.Algorithm(), n)
			}
		}
	}
}
