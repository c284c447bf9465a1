package sigformat

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"time"

	"touchmark/hostlink/message"
)

// Public-key algorithm ids (RFC 9580 §9.1).
const (
	algoRSA   = 1
	algoECDSA = 19
)

// p256OID is the curve id of P-256 with its length (RFC 9580 §9.2).
const p256OID = "\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"

// Key is an OpenPGP v4 public key of the profile. The creation time is part of
// the fingerprint and must therefore be kept with the key.
type Key struct {
	Public  crypto.PublicKey // *ecdsa.PublicKey (P-256) or *rsa.PublicKey (2048)
	Created time.Time        // UTC, whole seconds

	algo        byte
	body        []byte // v4 public key packet body
	fingerprint [20]byte
}

// NewKey makes the OpenPGP form of a token's public key: P-256, or RSA-2048
// with exponent 65537. created is in whole seconds, years 2020 to 2105.
func NewKey(pub crypto.PublicKey, created time.Time) (*Key, error) {
	stamp, err := stampOf(created)
	if err != nil {
		return nil, fmt.Errorf("openpgp key: creation %w", err)
	}
	k := &Key{Public: pub, Created: created.UTC()}
	k.body = append([]byte{4}, stamp...)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub == nil || pub.Curve != elliptic.P256() {
			return nil, errors.New("openpgp key: only P-256 among elliptic curves is supported")
		}
		point, err := pub.Bytes()
		if err != nil {
			return nil, fmt.Errorf("openpgp key: %w", err)
		}
		k.algo = algoECDSA
		k.body = append(append(k.body, algoECDSA), p256OID...)
		k.body = appendMPI(k.body, point)
	case *rsa.PublicKey:
		if pub == nil || pub.N == nil || pub.N.BitLen() != rsaBits || pub.E != rsaExponent {
			return nil, errors.New("openpgp key: only RSA-2048 with exponent 65537 is supported")
		}
		k.algo = algoRSA
		k.body = append(k.body, algoRSA)
		k.body = appendMPI(k.body, pub.N.Bytes())
		k.body = appendMPI(k.body, []byte{1, 0, 1})
	default:
		return nil, fmt.Errorf("openpgp key: %T is not supported", pub)
	}
	k.fingerprint = sha1.Sum(k.hashed())
	return k, nil
}

// parseKey reads a public key packet body that NewKey could have written.
func parseKey(body []byte) (*Key, error) {
	if len(body) < 6 || body[0] != 4 {
		return nil, errors.New("openpgp key: not a version 4 key")
	}
	created := time.Unix(int64(binary.BigEndian.Uint32(body[1:])), 0)
	var pub crypto.PublicKey
	var err error
	switch body[5] {
	case algoECDSA:
		pub, err = parseP256(body[6:])
	case algoRSA:
		pub, err = parseRSA(body[6:])
	default:
		err = fmt.Errorf("public-key algorithm %d is not of the profile", body[5])
	}
	if err != nil {
		return nil, fmt.Errorf("openpgp key: %w", err)
	}
	k, err := NewKey(pub, created)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(k.body, body) {
		return nil, errors.New("openpgp key: not in canonical form")
	}
	return k, nil
}

func parseP256(b []byte) (*ecdsa.PublicKey, error) {
	rest, ok := bytes.CutPrefix(b, []byte(p256OID))
	if !ok {
		return nil, errors.New("curve is not P-256")
	}
	point, rest, err := cutMPI(rest, 65)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, errors.New("trailing bytes")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func parseRSA(b []byte) (*rsa.PublicKey, error) {
	n, rest, err := cutMPI(b, rsaBits/8)
	if err != nil {
		return nil, err
	}
	e, rest, err := cutMPI(rest, 4)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 || !bytes.Equal(e, []byte{1, 0, 1}) {
		return nil, errors.New("exponent is not 65537")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: rsaExponent}, nil
}

// Fingerprint is the v4 fingerprint (RFC 9580 §5.5.4.2).
func (k *Key) Fingerprint() [20]byte { return k.fingerprint }

// Algorithm is the policy's name of the key type: "p256" or "rsa2048".
func (k *Key) Algorithm() string {
	if k.algo == algoRSA {
		return "rsa2048"
	}
	return "p256"
}

// hashed is the key as it enters fingerprints and certifications.
func (k *Key) hashed() []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(k.body)))
	return append(b, k.body...)
}

// check verifies values, the signature's integers without leading zeros, over
// a digest. Go's ECDSA takes the leftmost 256 bits of a longer digest, which
// is what FIPS 186-5 §6.4.1 and PIV tokens do.
func (k *Key) check(alg message.Alg, digest []byte, values [][]byte) error {
	if len(digest) != alg.Size() {
		return fmt.Errorf("digest of %d bytes is no %s digest", len(digest), alg)
	}
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		der, err := asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(values[0]), new(big.Int).SetBytes(values[1])})
		if err != nil || !ecdsa.VerifyASN1(pub, digest, der) {
			return errors.New("the ECDSA signature is not valid for this key and data")
		}
	case *rsa.PublicKey:
		padded := make([]byte, rsaBits/8)
		copy(padded[len(padded)-len(values[0]):], values[0])
		if rsa.VerifyPKCS1v15(pub, alg.Hash(), digest, padded) != nil {
			return errors.New("the RSA signature is not valid for this key and data")
		}
	}
	return nil
}

// split takes the token's answer apart into the signature's integers.
func (k *Key) split(raw []byte) ([][]byte, error) {
	if k.algo == algoRSA {
		if len(raw) != rsaBits/8 {
			return nil, fmt.Errorf("token returned %d bytes, an RSA-2048 signature has %d", len(raw), rsaBits/8)
		}
		return [][]byte{bytes.TrimLeft(raw, "\x00")}, nil
	}
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(raw, &v)
	if err != nil || len(rest) != 0 || !inField(v.R) || !inField(v.S) {
		return nil, errors.New("token returned no ASN.1 ECDSA signature for P-256")
	}
	return [][]byte{v.R.Bytes(), v.S.Bytes()}, nil
}

func inField(v *big.Int) bool { return v.Sign() > 0 && v.BitLen() <= 256 }

// valueCount and valueBytes give the shape of a signature's integers.
func valueCount(algo byte) int {
	if algo == algoRSA {
		return 1
	}
	return 2
}

func valueBytes(algo byte) int {
	if algo == algoRSA {
		return rsaBits / 8
	}
	return 32
}

// stampOf checks and encodes an OpenPGP time (RFC 9580 §3.5).
func stampOf(t time.Time) ([]byte, error) {
	if t.Nanosecond() != 0 || t.Unix() < minTime || t.Unix() > maxTime {
		return nil, fmt.Errorf("time %s is not in whole seconds of the years 2020 to 2105", t.UTC().Format(time.RFC3339Nano))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(t.Unix())), nil
}
