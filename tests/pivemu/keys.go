package pivemu

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"touchmark/tests/pivemu/iso7816"
)

// keyAlg is an algorithm identifier of SP 800-78-4 table 6-2, or Yubico's own
// from e0 on.
type keyAlg byte

const (
	algRSA3072 keyAlg = 0x05
	algRSA1024 keyAlg = 0x06
	algRSA2048 keyAlg = 0x07
	algP256    keyAlg = 0x11
	algP384    keyAlg = 0x14
	algRSA4096 keyAlg = 0x16
	algEd25519 keyAlg = 0xe0
	algX25519  keyAlg = 0xe1
)

// rsaBits is the modulus length, 0 for other algorithms.
func (a keyAlg) rsaBits() int {
	switch a {
	case algRSA1024:
		return 1024
	case algRSA2048:
		return 2048
	case algRSA3072:
		return 3072
	case algRSA4096:
		return 4096
	}
	return 0
}

// curve is the NIST curve, nil for other algorithms.
func (a keyAlg) curve() elliptic.Curve {
	switch a {
	case algP256:
		return elliptic.P256()
	case algP384:
		return elliptic.P384()
	}
	return nil
}

// supports tells whether this firmware has the algorithm.
func (p profile) supports(a keyAlg) bool {
	switch a {
	case algRSA1024, algRSA2048, algP256, algP384:
		return true
	case algRSA3072, algRSA4096, algEd25519, algX25519:
		return p.modernKeys
	}
	return false
}

type (
	pinPolicy   byte
	touchPolicy byte
	origin      byte
)

// Values of the policy objects aa and ab and of the metadata origin.
const (
	pinNever  pinPolicy = 1
	pinOnce   pinPolicy = 2
	pinAlways pinPolicy = 3

	touchPolicyNever  touchPolicy = 1
	touchPolicyAlways touchPolicy = 2
	touchPolicyCached touchPolicy = 3

	originGenerated origin = 1
	originImported  origin = 2
)

// slotKey is a private key in a slot.
type slotKey struct {
	Alg    keyAlg
	PIN    pinPolicy
	Touch  touchPolicy
	Origin origin
	// key is *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey or an
	// X25519 *ecdh.PrivateKey.
	key crypto.PrivateKey
}

// public is the public key in the form crypto/x509 takes.
func (k *slotKey) public() crypto.PublicKey {
	switch key := k.key.(type) {
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

// publicObject is the contents of the public key template 7F49 (SP 800-73-4
// part 2 table 10): modulus and exponent, or the point.
func (k *slotKey) publicObject() ([]byte, error) {
	switch pub := k.public().(type) {
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
	return nil, fmt.Errorf("pivemu: no public key in a %T", k.key)
}

// generateKey makes a new private key.
func generateKey(a keyAlg) (crypto.PrivateKey, error) {
	if bits := a.rsaBits(); bits != 0 {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	if curve := a.curve(); curve != nil {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if a == algEd25519 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return ecdh.X25519().GenerateKey(rand.Reader)
}

var errKeyParts = errors.New("pivemu: the key parts are not a key of this algorithm")

// rsaExponent is the only public exponent a YubiKey takes.
const rsaExponent = 65537

// keyFromParts builds a key from the objects of an import command: 01 and 02
// the RSA primes (03 to 05, the CRT values, follow from them), 06 an EC scalar,
// 07 an Ed25519 seed, 08 an X25519 scalar.
func keyFromParts(a keyAlg, parts iso7816.Objects) (crypto.PrivateKey, error) {
	part := func(tag uint32, n int) ([]byte, error) {
		v, ok := parts.Find(tag)
		if !ok || len(v) != n {
			return nil, errKeyParts
		}
		return v, nil
	}
	switch {
	case a.rsaBits() != 0:
		p, err := part(0x01, a.rsaBits()/16)
		if err != nil {
			return nil, err
		}
		q, err := part(0x02, a.rsaBits()/16)
		if err != nil {
			return nil, err
		}
		return rsaFromPrimes(new(big.Int).SetBytes(p), new(big.Int).SetBytes(q), a.rsaBits())
	case a.curve() != nil:
		d, err := part(0x06, a.curve().Params().BitSize/8)
		if err != nil {
			return nil, err
		}
		return ecdsa.ParseRawPrivateKey(a.curve(), d)
	case a == algEd25519:
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
