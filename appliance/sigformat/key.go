package sigformat

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

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
	stamp, err := stampOf(created)
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

// parseKey reads a public key packet body that NewKey could have written.
func parseKey(body []byte) (*Key, error) {
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

// Fingerprint is the v4 fingerprint (RFC 9580 §5.5.4.2).
func (k *Key) Fingerprint() [20]byte { return k.fingerprint }

// Algorithm is the policy's name of the key type, such as "p256".
func (k *Key) Algorithm() string { return k.name }

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

// certAlg is the hash that the key's certifications are made with: SHA-256,
// or the shortest that goes with the key.
func (k *Key) certAlg() message.Alg {
	if k.Signs(message.SHA256) == nil {
		return message.SHA256
	}
	return message.SHA384
}

// FingerprintOf is the fingerprint of a version 4 public key packet's body, whose
// length is below 64 KiB (RFC 9580 §5.5.4.2).
func FingerprintOf(body []byte) [20]byte { return sha1.Sum(hashedKey(body)) }

func hashedKey(body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(body))), body...)
}

// hashed is the key as it enters fingerprints and certifications.
func (k *Key) hashed() []byte { return hashedKey(k.body) }

// check verifies values, the signature's integers, over a digest, or over a
// message without one.
func (k *Key) check(alg message.Alg, digest []byte, values [][]byte) error {
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

// stampOf checks and encodes an OpenPGP time (RFC 9580 §3.5).
func stampOf(t time.Time) ([]byte, error) {
	if t.Nanosecond() != 0 || t.Unix() < minTime || t.Unix() > maxTime {
		return nil, fmt.Errorf("time %s is not in whole seconds of the years 2020 to 2105", t.UTC().Format(time.RFC3339Nano))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(t.Unix())), nil
}
