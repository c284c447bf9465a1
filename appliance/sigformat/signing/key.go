// Package signing knows the keys that tokens have and what is asked of them: a key in the
// form in which OpenPGP, SSH and the log name it (Key), and a signature about to be made
// (Plan), whatever it will look like to its readers.
//
// The keys are P-256 and P-384 (ECDSA), RSA of 2048, 3072 and 4096 bits (PKCS#1 v1.5) and
// Ed25519, with SHA-256, -384 or -512. Signatures are in between lists of big-endian
// integers without leading zeros: one of RSA, two of the others.
//
// The package is pure. Plan.Finish verifies what a token returned before it gives it out.
package signing

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/hostlink/message"
)

// Key is an OpenPGP v4 public key of the profile. The creation time is part of
// the fingerprint and must therefore be kept with the key.
type Key struct {
	Public  crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey
	Created time.Time        // UTC, whole seconds

	name        string // of its type
	kind        keyType
	body        []byte // v4 public key packet body
	fingerprint [20]byte
}

// NewKey makes the OpenPGP form of a token's public key: P-256, P-384, RSA of
// 2048, 3072 or 4096 bits with exponent 65537, or Ed25519. created is in whole
// seconds, years 2020 to 2105.
func NewKey(pub crypto.PublicKey, created time.Time) (*Key, error) {
	stamp, err := packet.Time(created)
	if err != nil {
		return nil, fmt.Errorf("openpgp key: creation %w", err)
	}
	for name, kind := range keyTypes {
		material := kind.encode(pub)
		if material == nil {
			continue
		}
		k := &Key{Public: pub, Created: created.UTC(), name: name, kind: kind}
		k.body = append(append(append([]byte{4}, stamp...), kind.algo()), material...)
		k.fingerprint = FingerprintOf(k.body)
		return k, nil
	}
	return nil, fmt.Errorf("openpgp key: %T of this kind is not supported: use P-256, P-384, RSA-2048, -3072, -4096 (exponent 65537) or Ed25519", pub)
}

// ParseKey reads a public key packet body that NewKey could have written.
func ParseKey(body []byte) (*Key, error) {
	if len(body) < 6 || body[0] != 4 {
		return nil, errors.New("openpgp key: not a version 4 key")
	}
	created := time.Unix(int64(binary.BigEndian.Uint32(body[1:])), 0)
	for _, kind := range keyTypes {
		if kind.algo() != body[5] {
			continue
		}
		pub, err := kind.decode(body[6:])
		if err != nil {
			continue
		}
		if k, err := NewKey(pub, created); err == nil && bytes.Equal(k.body, body) {
			return k, nil
		}
	}
	return nil, errors.New("openpgp key: not of the profile")
}

// Body is the body of the key's packet (RFC 9580 §5.5.2); the caller does not change it.
func (k *Key) Body() []byte { return k.body }

// Fingerprint is the v4 fingerprint (RFC 9580 §5.5.4.2).
func (k *Key) Fingerprint() [20]byte { return k.fingerprint }

// Algorithm is the policy's name of the key type, such as "p256".
func (k *Key) Algorithm() string { return k.name }

// OpenPGPAlgorithm is the id of the key's algorithm (RFC 9580 §9.1).
func (k *Key) OpenPGPAlgorithm() byte { return k.kind.algo() }

// Shape is the number of integers in the key's signatures and the most bytes of one.
func (k *Key) Shape() (count, size int) { return k.kind.shape() }

// Split takes a token's answer apart into the signature's integers: an ASN.1 DER ECDSA
// signature, an RSA PKCS#1 v1.5 block, or 64 bytes of Ed25519.
func (k *Key) Split(raw []byte) ([][]byte, error) { return k.kind.split(raw) }

// Signs says why tools would not accept what the key signs over a digest of
// alg, nil if they do.
func (k *Key) Signs(alg message.Alg) error { return CheckHash(k.name, alg) }

// CheckHash is Signs for keys of the type that policies call algorithm.
func CheckHash(algorithm string, alg message.Alg) error {
	kind := keyTypes[algorithm]
	if kind != nil && alg.Valid() && alg.Size() >= kind.least() {
		return nil
	}
	return fmt.Errorf("%s is too short a hash for a key of type %s", alg, algorithm)
}

// CertAlg is the hash that the key's certifications are made with: SHA-256,
// or the shortest that goes with the key.
func (k *Key) CertAlg() message.Alg {
	if k.Signs(message.SHA256) == nil {
		return message.SHA256
	}
	return message.SHA384
}

// Known reports whether there are keys of the type that policies call algorithm.
func Known(algorithm string) bool { return keyTypes[algorithm] != nil }

// FingerprintOf is the fingerprint of a version 4 public key packet's body, whose
// length is below 64 KiB (RFC 9580 §5.5.4.2).
func FingerprintOf(body []byte) [20]byte { return sha1.Sum(Hashed(body)) }

// Hashed is a public key packet's body as it enters fingerprints and certifications
// (RFC 9580 §5.2.4).
func Hashed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(body))), body...)
}

// Verify verifies values, a signature's integers, over a digest, or over a message
// that the token hashes itself, if alg is empty.
func (k *Key) Verify(alg message.Alg, digest []byte, values [][]byte) error {
	if alg != "" && len(digest) != alg.Size() {
		return fmt.Errorf("digest of %d bytes is no %s digest", len(digest), alg)
	}
	count, size := k.kind.shape()
	tooLong := func(v []byte) bool { return len(v) > size }
	if len(values) != count || slices.ContainsFunc(values, tooLong) || !k.kind.verify(k.Public, alg, digest, values) {
		return fmt.Errorf("the signature is not valid for this %s key and data", k.name)
	}
	return nil
}
