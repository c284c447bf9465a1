package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/hostlink/message"
)

// Public-key algorithm ids (RFC 9580 §9.1).
const (
	algoRSA   = 1
	algoECDSA = 19
	algoEdDSA = 22 // EdDSALegacy: what version 4 keys with gpg use
)

// Curve ids with their lengths (RFC 9580 §9.2).
const (
	oidP256    = "\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
	oidP384    = "\x05\x2b\x81\x04\x00\x22"
	oidEd25519 = "\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01"
)

// keyType is how keys of one kind look in OpenPGP and what their signatures
// are. Integers are big-endian without leading zeros, as in an MPI.
type keyType interface {
	// algo is the public-key algorithm id.
	algo() byte
	// encode gives what follows the algorithm id in the key packet, nil if the
	// key is not of this type.
	encode(pub crypto.PublicKey) []byte
	// decode is the inverse. What it accepts, encode decides.
	decode(b []byte) (crypto.PublicKey, error)
	// shape is the number of a signature's integers and the most bytes of one.
	shape() (count, size int)
	// split takes a token's answer apart into the signature's integers.
	split(raw []byte) ([][]byte, error)
	// verify reports whether such integers are a signature over a digest.
	verify(pub crypto.PublicKey, alg message.Alg, digest []byte, values [][]byte) bool
	// least is the shortest digest, in bytes, that tools accept of such a key.
	least() int
}

const rsaExponent = 65537 // what PIV tokens generate; anything else is not ours

// keyTypes are those of the profile by their names in policies.
var keyTypes = map[string]keyType{
	"p256":    ecType{elliptic.P256(), oidP256},
	"p384":    ecType{elliptic.P384(), oidP384},
	"rsa2048": rsaType(2048),
	"rsa3072": rsaType(3072),
	"rsa4096": rsaType(4096),
	"ed25519": edType{},
}

// ecType is ECDSA (RFC 9580 §5.5.5.4).
type ecType struct {
	curve elliptic.Curve
	oid   string
}

func (ecType) algo() byte          { return algoECDSA }
func (t ecType) width() int        { return (t.curve.Params().BitSize + 7) / 8 }
func (t ecType) shape() (int, int) { return 2, t.width() }

// least: gpg refuses ECDSA over a digest shorter than the curve.
func (t ecType) least() int { return t.width() }

func (t ecType) encode(pub crypto.PublicKey) []byte {
	ec, ok := pub.(*ecdsa.PublicKey)
	if !ok || ec == nil || ec.Curve != t.curve {
		return nil
	}
	point, err := ec.Bytes()
	if err != nil {
		return nil
	}
	return packet.AppendMPI([]byte(t.oid), point)
}

func (t ecType) decode(b []byte) (crypto.PublicKey, error) {
	b, ok := bytes.CutPrefix(b, []byte(t.oid))
	if !ok {
		return nil, packet.Err
	}
	point, _, err := packet.CutMPI(b, 1+2*t.width())
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(t.curve, point)
}

func (t ecType) split(raw []byte) ([][]byte, error) {
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(raw, &v)
	if err != nil || len(rest) != 0 || !t.inField(v.R) || !t.inField(v.S) {
		return nil, fmt.Errorf("token returned no ASN.1 ECDSA signature for %s", t.curve.Params().Name)
	}
	return [][]byte{v.R.Bytes(), v.S.Bytes()}, nil
}

func (t ecType) inField(v *big.Int) bool { return v.Sign() > 0 && v.BitLen() <= 8*t.width() }

// verify relies on Go taking the leftmost bits of a digest longer than the
// curve, which is what FIPS 186-5 §6.4.1 and PIV tokens do.
func (t ecType) verify(pub crypto.PublicKey, _ message.Alg, digest []byte, values [][]byte) bool {
	return ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest, derOf(values))
}

// derOf is the ASN.1 form of an ECDSA signature (RFC 3279 §2.2.3), a SEQUENCE of
// INTEGERs below 128 bytes in all. An audit spends its time here, and
// encoding/asn1 would double what is not the verification itself.
func derOf(values [][]byte) []byte {
	b := []byte{0x30, 0}
	for _, v := range values {
		if len(v) == 0 || v[0] >= 0x80 {
			v = append([]byte{0}, v...) // not negative, not empty
		}
		b = append(append(b, 0x02, byte(len(v))), v...)
	}
	b[1] = byte(len(b) - 2)
	return b
}

// rsaType is RSA with PKCS#1 v1.5 (RFC 8017 §8.2) and a modulus of so many
// bits.
type rsaType int

func (rsaType) algo() byte          { return algoRSA }
func (t rsaType) shape() (int, int) { return 1, int(t) / 8 }
func (rsaType) least() int          { return 0 }

func (t rsaType) encode(pub crypto.PublicKey) []byte {
	k, ok := pub.(*rsa.PublicKey)
	if !ok || k == nil || k.N == nil || k.N.BitLen() != int(t) || k.E != rsaExponent {
		return nil
	}
	return packet.AppendMPI(packet.AppendMPI(nil, k.N.Bytes()), []byte{1, 0, 1})
}

func (t rsaType) decode(b []byte) (crypto.PublicKey, error) {
	n, _, err := packet.CutMPI(b, int(t)/8)
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: rsaExponent}, nil
}

func (t rsaType) split(raw []byte) ([][]byte, error) {
	if len(raw) != int(t)/8 {
		return nil, fmt.Errorf("token returned %d bytes, an RSA-%d signature has %d", len(raw), int(t), int(t)/8)
	}
	return [][]byte{bytes.TrimLeft(raw, "\x00")}, nil
}

func (t rsaType) verify(pub crypto.PublicKey, alg message.Alg, digest []byte, values [][]byte) bool {
	return rsa.VerifyPKCS1v15(pub.(*rsa.PublicKey), alg.Hash(), digest, Pad(values[0], int(t)/8)) == nil
}

// edType is Ed25519 in the form of version 4 keys (RFC 9580 §5.5.5.5): the
// message that it signs is the digest.
type edType struct{}

func (edType) algo() byte        { return algoEdDSA }
func (edType) shape() (int, int) { return 2, ed25519.SignatureSize / 2 }
func (edType) least() int        { return 0 }

func (edType) encode(pub crypto.PublicKey) []byte {
	k, ok := pub.(ed25519.PublicKey)
	if !ok || len(k) != ed25519.PublicKeySize {
		return nil
	}
	return packet.AppendMPI([]byte(oidEd25519), append([]byte{0x40}, k...))
}

func (edType) decode(b []byte) (crypto.PublicKey, error) {
	b, ok := bytes.CutPrefix(b, []byte(oidEd25519))
	if !ok {
		return nil, packet.Err
	}
	point, _, err := packet.CutMPI(b, 1+ed25519.PublicKeySize)
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(bytes.Clone(point[1:])), nil
}

func (edType) split(raw []byte) ([][]byte, error) {
	if len(raw) != ed25519.SignatureSize {
		return nil, fmt.Errorf("token returned %d bytes, an Ed25519 signature has %d", len(raw), ed25519.SignatureSize)
	}
	half := ed25519.SignatureSize / 2
	r, s := bytes.TrimLeft(raw[:half], "\x00"), bytes.TrimLeft(raw[half:], "\x00")
	if len(r) == 0 || len(s) == 0 {
		return nil, errors.New("token returned an Ed25519 signature of zeros")
	}
	return [][]byte{r, s}, nil
}

func (edType) verify(pub crypto.PublicKey, _ message.Alg, digest []byte, values [][]byte) bool {
	half := ed25519.SignatureSize / 2
	return ed25519.Verify(pub.(ed25519.PublicKey), digest, append(Pad(values[0], half), Pad(values[1], half)...))
}

// Pad is an integer with its leading zeros, n bytes long; it has no more itself.
func Pad(v []byte, n int) []byte {
	b := make([]byte, n)
	copy(b[n-len(v):], v)
	return b
}

// ShapeOf is the number of integers in any signature of an OpenPGP public-key algorithm
// and the most bytes that one of them can have; zeros if it is not of the profile.
func ShapeOf(algo byte) (count, size int) {
	for _, kind := range keyTypes {
		if kind.algo() == algo {
			n, most := kind.shape()
			count, size = n, max(size, most)
		}
	}
	return count, size
}
