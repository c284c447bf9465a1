//go:build emulated || pcscd || realtoken

package piv_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"

	"touchmark/appliance/piv"
)

// hands are what a person does with a token.
type hands struct {
	open  func() *piv.Token // the token that is plugged in
	touch func(sign func()) // touches it while sign runs
	still func(sign func()) // does not
	swap  func()            // pulls it and plugs it in again
}

// rounds makes a key in slot 9c of a token with the factory's PIN, PUK and
// management key, destroying what is there, and goes through what the appliance
// does with a token. It leaves the factory's secrets.
func rounds(t *testing.T, h hands, alg string, genuine bool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tok := h.open()
	e, err := tok.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9c", Algorithm: alg}, PIN: []byte("123456"), Replace: true})
	must(err)
	if e.Facts.Emulated == genuine || !e.Facts.TouchAlways() || !e.Facts.PINOnce() {
		t.Fatalf("the attestation says %+v", e.Facts)
	}
	digest := sha256.Sum256([]byte("rounds"))
	sign := func() (sig []byte, err error) { return tok.Sign("9c", e.Public, digest[:], crypto.SHA256) }
	signs := func() {
		t.Helper()
		var sig []byte
		h.touch(func() { sig, err = sign() })
		must(err)
		if !good(e.Public, digest[:], sig) {
			t.Fatal("a bad signature")
		}
	}

	signs()
	h.still(func() { _, err = sign() })
	if !errors.Is(err, piv.ErrTouchTimeout) || !tok.PINVerified() {
		t.Fatalf("nobody touched: %v, PIN verified: %v", err, tok.PINVerified())
	}
	var wrong *piv.PINError
	if err := tok.VerifyPIN([]byte("000000")); !errors.As(err, &wrong) || wrong.Retries != 2 {
		t.Fatalf("a wrong PIN: %v", err)
	}
	if _, err = sign(); !errors.Is(err, piv.ErrPINRequired) {
		t.Fatalf("signing after a wrong PIN: %v", err)
	}
	must(tok.SetPIN([]byte("123456"), []byte("24681357")))
	signs()
	must(tok.SetPIN([]byte("24681357"), []byte("123456")))
	must(tok.SetPUK([]byte("12345678"), []byte("87654321")))
	if err := tok.SetPUK([]byte("12345678"), []byte("11111111")); !errors.As(err, &wrong) || !wrong.PUK || wrong.Retries != 2 {
		t.Fatalf("a wrong PUK: %v", err)
	}
	must(tok.SetPUK([]byte("87654321"), []byte("12345678")))

	h.swap()
	if _, err = sign(); !errors.Is(err, piv.ErrRemoved) {
		t.Fatalf("after a removal: %v", err)
	}
	must(tok.Close())
	tok = h.open()
	if _, err = sign(); !errors.Is(err, piv.ErrPINRequired) {
		t.Fatalf("after a removal the PIN is gone: %v", err)
	}
	must(tok.VerifyPIN([]byte("123456")))
	signs()
}

func good(pub crypto.PublicKey, digest, sig []byte) bool {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, sig) == nil
	}
	return false
}
