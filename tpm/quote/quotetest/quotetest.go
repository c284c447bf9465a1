// Package quotetest is a TPM made of software for tests of the pure packages:
// it holds HEAD, one PCR and an AK, and writes attestations in the bytes a TPM
// would write. tests/swtpm is the real thing; this one is for tests that need
// thousands of attestations, or dishonest ones. Production code never imports
// it.
package quotetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"math/big"

	"touchmark/tpm/quote"
)

// TPM has exported state: a test may set any of it.
type TPM struct {
	Key       *ecdsa.PrivateKey
	HeadIndex uint32
	PCRIndex  int
	Head, PCR [32]byte
	Clock     quote.Clock
}

// New makes a TPM with a fresh AK, HEAD at index 0x01800100 and PCR 14.
func New() *TPM {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return &TPM{Key: key, HeadIndex: 0x01800100, PCRIndex: 14,
		Clock: quote.Clock{Millis: 1000, ResetCount: 7, RestartCount: 3, Safe: true}}
}

// AK is the public part of the attestation key.
func (t *TPM) AK() *quote.AK {
	k, err := quote.ParseAK(t.Public())
	if err != nil {
		panic(err)
	}
	return k
}

// Public is the AK's TPMT_PUBLIC.
func (t *TPM) Public() []byte {
	point, err := t.Key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	b := cat(u16(0x23), u16(0x0b), u32(quote.AKAttributes), u16(0), u16(0x10), u16(0x18), u16(0x0b), u16(3), u16(0x10))
	return cat(b, sized(point[1:33]), sized(point[33:]))
}

// HeadName is the Name of HEAD.
func (t *TPM) HeadName() []byte { return quote.HeadName(t.HeadIndex) }

// ExtendHead is TPM2_NV_Extend.
func (t *TPM) ExtendHead(x [32]byte) { t.Head = extend(t.Head, x) }

// ExtendPCR is TPM2_PCR_Extend.
func (t *TPM) ExtendPCR(x [32]byte) { t.PCR = extend(t.PCR, x) }

// PowerCycle is a TPM Reset: the PCR is zero, HEAD stays.
func (t *TPM) PowerCycle() {
	t.PCR = [32]byte{}
	t.Clock.ResetCount++
}

// CertifyHead is TPM2_NV_Certify of the whole of HEAD.
func (t *TPM) CertifyHead(extra [32]byte) quote.Attestation {
	return t.Attest(0x8014, extra[:], cat(sized(t.HeadName()), u16(0), sized(t.Head[:])))
}

// QuotePCR is TPM2_Quote of the PCR.
func (t *TPM) QuotePCR(extra [32]byte) quote.Attestation {
	bits := make([]byte, 3)
	bits[t.PCRIndex/8] = 1 << (t.PCRIndex % 8)
	digest := quote.PCRDigest(t.PCR)
	return t.Attest(0x8018, extra[:], cat(u32(1), u16(0x0b), []byte{3}, bits, sized(digest[:])))
}

// Creation is TPM2_CertifyCreation of the AK by itself.
func (t *TPM) Creation(outside []byte) quote.Creation {
	none := sha256.Sum256(nil)
	owner := sized(u32(0x40000001))
	data := cat(u32(0), sized(none[:]), []byte{1}, u16(0x10), owner, owner, sized(outside))
	hash, extra := sha256.Sum256(data), quote.CreationTag(outside)
	a := t.Attest(0x801a, extra[:], cat(sized(t.AK().Name()), sized(hash[:])))
	return quote.Creation{Data: data, Attest: a.Attest, Sig: a.Sig}
}

// Attest signs a TPMS_ATTEST of any type with any union, honest or not. The
// clock moves on by a second.
func (t *TPM) Attest(kind uint16, extra, union []byte) quote.Attestation {
	t.Clock.Millis += 1000
	clock := cat(u64(t.Clock.Millis), u32(t.Clock.ResetCount), u32(t.Clock.RestartCount), []byte{0})
	if t.Clock.Safe {
		clock[16] = 1
	}
	attest := cat(u32(0xff544347), u16(kind), sized(t.AK().QualifiedName()), sized(extra), clock, u64(0x2019102300163636), union)
	return t.Sign(attest)
}

// Sign signs any bytes as the AK would sign an attestation: deterministically
// (RFC 6979), so that one key always writes one log.
func (t *TPM) Sign(attest []byte) quote.Attestation {
	digest := sha256.Sum256(attest)
	der, err := t.Key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		panic(err)
	}
	r, s := v.R, v.S
	sig := cat(u16(0x18), u16(0x0b), sized(r.FillBytes(make([]byte, 32))), sized(s.FillBytes(make([]byte, 32))))
	return quote.Attestation{Attest: attest, Sig: sig}
}

func extend(h, x [32]byte) [32]byte { return sha256.Sum256(cat(h[:], x[:])) }

func u16(v uint16) []byte   { return binary.BigEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte   { return binary.BigEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte   { return binary.BigEndian.AppendUint64(nil, v) }
func sized(b []byte) []byte { return cat(u16(uint16(len(b))), b) }
func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
