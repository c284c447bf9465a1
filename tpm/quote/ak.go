package quote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// AKAttributes are the TPMA_OBJECT bits of every AK (Part 2, §8.3.2): fixedTPM
// (1), fixedParent (4), sensitiveDataOrigin (5), userWithAuth (6), noDA (10),
// restricted (16), sign (18). Restricted is what makes an attestation one: the
// TPM refuses to sign with this key anything that starts with TPM_GENERATED
// and was not built by itself.
const AKAttributes = 1<<1 | 1<<4 | 1<<5 | 1<<6 | 1<<10 | 1<<16 | 1<<18

// AK is the public part of the attestation key.
type AK struct {
	public    *ecdsa.PublicKey
	raw       []byte
	name      []byte
	qualified []byte
}

// ParseAK reads the TPMT_PUBLIC (Part 2, §12.2.4) of an AK. There is one
// template: ECC, nameAlg SHA-256, AKAttributes, empty policy, no symmetric
// algorithm, ECDSA with SHA-256, NIST P-256, no KDF, a point on the curve.
// Everything else is refused.
func ParseAK(tpmtPublic []byte) (*AK, error) {
	if len(tpmtPublic) > MaxPublic {
		return nil, fmt.Errorf("quote: AK of %d bytes, over the limit of %d", len(tpmtPublic), MaxPublic)
	}
	r := &reader{b: tpmtPublic}
	r.expect16(algECC, "AK type")
	r.expect16(algSHA256, "AK nameAlg")
	if got := r.u32("AK attributes"); r.err == nil && got != AKAttributes {
		return nil, fmt.Errorf("quote: AK attributes %#08x, not %#08x: not a restricted signing key of this TPM only", got, AKAttributes)
	}
	r.expect16(0, "AK policy size")
	r.expect16(algNull, "AK symmetric algorithm")
	r.expect16(algECDSA, "AK scheme")
	r.expect16(algSHA256, "AK scheme hash")
	r.expect16(curveP256, "AK curve")
	r.expect16(algNull, "AK KDF")
	x, y := r.sized(maxScalar, "AK x"), r.sized(maxScalar, "AK y")
	if err := r.close(); err != nil {
		return nil, err
	}
	public, err := point(x, y)
	if err != nil {
		return nil, err
	}
	k := &AK{public: public, raw: append([]byte(nil), tpmtPublic...)}
	k.name = nameOf(k.raw)
	k.qualified = nameOf(append(binary.BigEndian.AppendUint32(nil, rhOwner), k.name...))
	return k, nil
}

// point builds the public key; a coordinate may come without leading zeros.
func point(x, y []byte) (*ecdsa.PublicKey, error) {
	uncompressed := make([]byte, 1+2*maxScalar)
	uncompressed[0] = 4 // SEC 1, §2.3.3
	copy(uncompressed[1+maxScalar-len(x):], x)
	copy(uncompressed[1+2*maxScalar-len(y):], y)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressed)
	if err != nil {
		return nil, errors.New("quote: AK point is not on P-256")
	}
	return public, nil
}

// nameOf is the Name of an object or NV index with this public area:
// nameAlg ‖ SHA-256(public) (Part 1, "Names").
func nameOf(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), sum[:]...)
}

// Name is the TPM Name of the AK: 0x000b ‖ SHA-256(TPMT_PUBLIC), 34 bytes.
func (k *AK) Name() []byte { return append([]byte(nil), k.name...) }

// QualifiedName is what the TPM writes as qualifiedSigner: the Name of a
// primary key of the owner hierarchy, 0x000b ‖ SHA-256(0x40000001 ‖ Name)
// (Part 1, "Qualified Name").
func (k *AK) QualifiedName() []byte { return append([]byte(nil), k.qualified...) }

// Public is the key as Go knows it.
func (k *AK) Public() *ecdsa.PublicKey { return k.public }

// Marshal is the TPMT_PUBLIC that was parsed.
func (k *AK) Marshal() []byte { return append([]byte(nil), k.raw...) }

// verify checks the signature over SHA-256(a.Attest).
func (k *AK) verify(a Attestation) error {
	r, s, err := ParseSignature(a.Sig)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(a.Attest)
	if !ecdsa.Verify(k.public, digest[:], r, s) {
		return errors.New("quote: signature is not the AK's over this attestation")
	}
	return nil
}

// ParseSignature reads a TPMT_SIGNATURE (Part 2, §11.3.4) that is ECDSA with
// SHA-256 on P-256 and returns r and s, both in 1 … order−1.
func ParseSignature(tpmtSignature []byte) (r, s *big.Int, err error) {
	if len(tpmtSignature) > MaxSignature {
		return nil, nil, fmt.Errorf("quote: signature of %d bytes, over the limit of %d", len(tpmtSignature), MaxSignature)
	}
	in := &reader{b: tpmtSignature}
	in.expect16(algECDSA, "signature algorithm")
	in.expect16(algSHA256, "signature hash")
	r = new(big.Int).SetBytes(in.sized(maxScalar, "signature r"))
	s = new(big.Int).SetBytes(in.sized(maxScalar, "signature s"))
	if err := in.close(); err != nil {
		return nil, nil, err
	}
	order := elliptic.P256().Params().N
	for _, v := range []*big.Int{r, s} {
		if v.Sign() <= 0 || v.Cmp(order) >= 0 {
			return nil, nil, errors.New("quote: signature value outside of 1 … order-1")
		}
	}
	return r, s, nil
}
