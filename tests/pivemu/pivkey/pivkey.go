// Package pivkey is the arithmetic of an emulated token: the private keys a PIV
// slot may hold, how they are made, imported and used, and the forms their
// public halves take. It decides nothing about PIN and touch; a [Key] only
// carries those policies.
package pivkey

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"touchmark/tests/pivemu/iso7816"
)

// MaxMessage is the longest message an Ed25519 key signs in one command.
const MaxMessage = 3072

// Alg is an algorithm identifier of SP 800-78-4 table 6-2, or Yubico's own
// from e0 on.
type Alg byte

// The algorithms. RSA-3072 and 4096, Ed25519 and X25519 exist from firmware 5.7
// on.
const (
	RSA3072 Alg = 0x05
	RSA1024 Alg = 0x06
	RSA2048 Alg = 0x07
	P256    Alg = 0x11
	P384    Alg = 0x14
	RSA4096 Alg = 0x16
	Ed25519 Alg = 0xe0
	X25519  Alg = 0xe1
)

// RSABits is the modulus length, 0 for other algorithms.
func (a Alg) RSABits() int {
	switch a {
	case RSA1024:
		return 1024
	case RSA2048:
		return 2048
	case RSA3072:
		return 3072
	case RSA4096:
		return 4096
	}
	return 0
}

// Curve is the NIST curve, nil for other algorithms.
func (a Alg) Curve() elliptic.Curve {
	switch a {
	case P256:
		return elliptic.P256()
	case P384:
		return elliptic.P384()
	}
	return nil
}

type (
	// PINPolicy tells when a key needs the PIN.
	PINPolicy byte
	// TouchPolicy tells when a key needs a touch.
	TouchPolicy byte
	// Origin tells where a key was made.
	Origin byte
)

// Values of the policy objects aa and ab and of the metadata origin.
const (
	PINNever  PINPolicy = 1
	PINOnce   PINPolicy = 2
	PINAlways PINPolicy = 3

	TouchNone   TouchPolicy = 1
	TouchAlways TouchPolicy = 2
	TouchCached TouchPolicy = 3

	Generated Origin = 1
	Imported  Origin = 2
)

// Key is a private key in a slot.
type Key struct {
	Alg    Alg
	PIN    PINPolicy
	Touch  TouchPolicy
	Origin Origin
	// Private is *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey or an
	// X25519 *ecdh.PrivateKey.
	Private crypto.PrivateKey
}

// Public is the public key in the form crypto/x509 takes.
func (k *Key) Public() crypto.PublicKey {
	switch key := k.Private.(type) {
	case *rsa.PrivateKey:
		return &key.PublicKey
	case *ecdsa.PrivateKey:
		return &key.PublicKey
	case ed25519.PrivateKey:
		return key.Public()
	case *ecdh.PrivateKey:
		return key.PublicKey()
	}
	return nil
}

// PublicObject is the contents of the public key template 7F49 (SP 800-73-4
// part 2 table 10): modulus and exponent, or the point.
func (k *Key) PublicObject() ([]byte, error) {
	switch pub := k.Public().(type) {
	case *rsa.PublicKey:
		return append(iso7816.TLV(0x81, pub.N.Bytes()),
			iso7816.TLV(0x82, big.NewInt(int64(pub.E)).Bytes())...), nil
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		return iso7816.TLV(0x86, point), err
	case ed25519.PublicKey:
		return iso7816.TLV(0x86, pub), nil
	case *ecdh.PublicKey:
		return iso7816.TLV(0x86, pub.Bytes()), nil
	}
	return nil, fmt.Errorf("pivkey: no public key in a %T", k.Private)
}

// Generate makes a new private key.
func Generate(a Alg) (crypto.PrivateKey, error) {
	if bits := a.RSABits(); bits != 0 {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	if curve := a.Curve(); curve != nil {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if a == Ed25519 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return ecdh.X25519().GenerateKey(rand.Reader)
}

var errKeyParts = errors.New("pivkey: the key parts are not a key of this algorithm")

// rsaExponent is the only public exponent a YubiKey takes.
const rsaExponent = 65537

// FromParts builds a key from the objects of an import command: 01 and 02
// the RSA primes (03 to 05, the CRT values, follow from them), 06 an EC scalar,
// 07 an Ed25519 seed, 08 an X25519 scalar.
func FromParts(a Alg, parts iso7816.Objects) (crypto.PrivateKey, error) {
	part := func(tag uint32, n int) ([]byte, error) {
		v, ok := parts.Find(tag)
		if !ok || len(v) != n {
			return nil, errKeyParts
		}
		return v, nil
	}
	switch {
	case a.RSABits() != 0:
		p, err := part(0x01, a.RSABits()/16)
		if err != nil {
			return nil, err
		}
		q, err := part(0x02, a.RSABits()/16)
		if err != nil {
			return nil, err
		}
		return rsaFromPrimes(new(big.Int).SetBytes(p), new(big.Int).SetBytes(q), a.RSABits())
	case a.Curve() != nil:
		d, err := part(0x06, a.Curve().Params().BitSize/8)
		if err != nil {
			return nil, err
		}
		return ecdsa.ParseRawPrivateKey(a.Curve(), d)
	case a == Ed25519:
		seed, err := part(0x07, ed25519.SeedSize)
		if err != nil {
			return nil, err
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	d, err := part(0x08, 32)
	if err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(d)
}

// rsaFromPrimes builds a key with the exponent 65537 and checks that it works.
func rsaFromPrimes(p, q *big.Int, bits int) (*rsa.PrivateKey, error) {
	one := big.NewInt(1)
	if p.Cmp(one) <= 0 || q.Cmp(one) <= 0 {
		return nil, errKeyParts
	}
	n := new(big.Int).Mul(p, q)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(big.NewInt(rsaExponent), phi)
	if d == nil || n.BitLen() != bits {
		return nil, errKeyParts
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: rsaExponent},
		D:         d,
		Primes:    []*big.Int{p, q},
	}
	if err := key.Validate(); err != nil {
		return nil, errKeyParts
	}
	key.Precompute()
	return key, nil
}

// Signature is the operation on a challenge (tag 81): a signature, or for RSA
// the bare private key operation on a block of the modulus' length, which also
// decrypts. It is nil when the message does not fit the key.
func (k *Key) Signature(message []byte) func() ([]byte, error) {
	switch key := k.Private.(type) {
	case *rsa.PrivateKey:
		m := new(big.Int).SetBytes(message)
		if len(message) != key.Size() || m.Cmp(key.N) >= 0 {
			return nil
		}
		return func() ([]byte, error) { return rsaPrivate(key, m), nil }
	case *ecdsa.PrivateKey:
		if n := len(message); n == 0 || n > key.Params().BitSize/8 {
			return nil
		}
		return func() ([]byte, error) { return ecdsa.SignASN1(rand.Reader, key, message) }
	case ed25519.PrivateKey:
		if len(message) > MaxMessage {
			return nil
		}
		return func() ([]byte, error) { return ed25519.Sign(key, message), nil }
	}
	return nil
}

// Agreement is the Diffie-Hellman operation on a peer's public key (tag 85),
// nil when the peer is no point of the key's curve.
func (k *Key) Agreement(peer []byte) func() ([]byte, error) {
	var own *ecdh.PrivateKey
	switch key := k.Private.(type) {
	case *ecdsa.PrivateKey:
		var err error
		if own, err = key.ECDH(); err != nil {
			return nil
		}
	case *ecdh.PrivateKey:
		own = key
	default:
		return nil
	}
	other, err := own.Curve().NewPublicKey(peer)
	if err != nil {
		return nil
	}
	return func() ([]byte, error) { return own.ECDH(other) }
}

// rsaPrivate is m^d mod n by the Chinese remainder theorem (RFC 8017 §5.1.2).
// Not constant-time: the key belongs to an emulator.
func rsaPrivate(key *rsa.PrivateKey, m *big.Int) []byte {
	p, q := key.Primes[0], key.Primes[1]
	m1 := new(big.Int).Exp(m, key.Precomputed.Dp, p)
	m2 := new(big.Int).Exp(m, key.Precomputed.Dq, q)
	h := m1.Sub(m1, m2)
	h.Mul(h, key.Precomputed.Qinv).Mod(h, p)
	return h.Mul(h, q).Add(h, m2).FillBytes(make([]byte, key.Size()))
}

// keyFile is a Key in the state file.
type keyFile struct {
	Alg    Alg
	PIN    PINPolicy
	Touch  TouchPolicy
	Origin Origin
	PKCS8  []byte
}

// MarshalJSON writes the key with its PKCS #8 form.
func (k *Key) MarshalJSON() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, err
	}
	return json.Marshal(keyFile{k.Alg, k.PIN, k.Touch, k.Origin, der})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (k *Key) UnmarshalJSON(b []byte) error {
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(f.PKCS8)
	if err != nil {
		return err
	}
	*k = Key{f.Alg, f.PIN, f.Touch, f.Origin, key}
	return nil
}
