package piv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"testing"
)

// TestSignable: only an Ed25519 key signs what is no digest, and not much of it.
func TestSignable(t *testing.T) {
	ed, ec, rs := make(ed25519.PublicKey, ed25519.PublicKeySize), new(ecdsa.PublicKey), new(rsa.PublicKey)
	for _, c := range []struct {
		pub  crypto.PublicKey
		size int
		h    crypto.Hash
		good bool
	}{
		{ec, 32, crypto.SHA256, true}, {rs, 48, crypto.SHA384, true}, {ed, 64, crypto.SHA512, true}, {ed, 100, 0, true}, {ed, maxMessage, 0, true},
		{ed, maxMessage + 1, 0, false}, {ec, 32, 0, false}, {rs, 100, 0, false}, {ec, 31, crypto.SHA256, false}, {ed, 100, crypto.SHA512, false}, {rs, 20, crypto.SHA1, false},
	} {
		if err := signable(c.pub, make([]byte, c.size), c.h); (err == nil) != c.good {
			t.Errorf("%T, %d bytes, hash %d: %v", c.pub, c.size, c.h, err)
		}
	}
}
