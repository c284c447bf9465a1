package quote_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/binary"
	"testing"

	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// fuzzTPM signs whatever a fuzzer thinks of, so that parsing is reached behind
// the signature check. The seeds are of another key, whose qualified name is
// replaced before signing.
var (
	fuzzTPM = quotetest.New()
	fuzzAK  = fuzzTPM.AK()
)

const signerAt, signerSize = 8, 34

func signedAs(attest []byte) quote.Attestation {
	attest = bytes.Clone(attest)
	if len(attest) >= signerAt+signerSize {
		copy(attest[signerAt:], fuzzAK.QualifiedName())
	}
	return fuzzTPM.Sign(attest)
}

// rebuilt is the one encoding of the part that all attestations share.
func rebuilt(kind uint16, extra [32]byte, c quote.Clock, firmware uint64) []byte {
	b := cat(u32(0xff544347), u16(kind), sized(fuzzAK.QualifiedName()), sized(extra[:]))
	b = binary.BigEndian.AppendUint64(b, c.Millis)
	b = cat(b, u32(c.ResetCount), u32(c.RestartCount), []byte{0})
	if c.Safe {
		b[len(b)-1] = 1
	}
	return binary.BigEndian.AppendUint64(b, firmware)
}

// FuzzAttest: an NV attestation that is accepted is byte for byte the encoding
// of the facts it yields; a quote but for firmware and size of the selection.
func FuzzAttest(f *testing.F) {
	x := [32]byte{1}
	head := quote.HeadName(0x01800100)
	f.Fuzz(func(t *testing.T, attest []byte) {
		a := signedAs(attest)
		if facts, err := fuzzAK.VerifyNV(a, head, quote.CertifyTag(x)); err == nil {
			want := cat(rebuilt(0x8014, quote.CertifyTag(x), facts.Clock, facts.Firmware), sized(head), u16(0), sized(facts.Contents[:]))
			if !bytes.Equal(a.Attest, want) {
				t.Errorf("accepted %x, whose facts are %x", a.Attest, want)
			}
		}
		if facts, err := fuzzAK.VerifyQuote(a, 14, quote.QuoteTag(x)); err == nil {
			common := rebuilt(0x8018, quote.QuoteTag(x), facts.Clock, 0)
			common = common[:len(common)-8]
			if !bytes.HasPrefix(a.Attest, common) || !bytes.HasSuffix(a.Attest, sized(facts.PCRDigest[:])) {
				t.Errorf("accepted %x, which does not frame its facts %+v", a.Attest, facts)
			}
		}
	})
}

// FuzzCreation: creation data that are accepted carry the outsideInfo last.
func FuzzCreation(f *testing.F) {
	outside := bytes.Repeat([]byte{7}, 32)
	f.Fuzz(func(t *testing.T, data []byte) {
		err := fuzzAK.VerifyCreation(certified(fuzzTPM, data, outside), outside)
		if err == nil && !bytes.HasSuffix(data, sized(outside)) {
			t.Errorf("accepted %x", data)
		}
	})
}

// FuzzSignature: what is accepted is in range and has one header.
func FuzzSignature(f *testing.F) {
	order := elliptic.P256().Params().N
	f.Fuzz(func(t *testing.T, sig []byte) {
		r, s, err := quote.ParseSignature(sig)
		if err != nil {
			return
		}
		if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
			t.Errorf("%x gave r %v, s %v", sig, r, s)
		}
		rSize := int(binary.BigEndian.Uint16(sig[4:]))
		want := cat(u16(0x18), u16(0x0b), sized(r.FillBytes(make([]byte, rSize))), sized(s.FillBytes(make([]byte, len(sig)-8-rSize))))
		if !bytes.Equal(sig, want) {
			t.Errorf("%x is %x again", sig, want)
		}
	})
}

// FuzzPublic: an AK that is accepted is on the curve and is kept as it came.
func FuzzPublic(f *testing.F) {
	f.Fuzz(func(t *testing.T, public []byte) {
		k, err := quote.ParseAK(public)
		if err != nil {
			return
		}
		if _, err := k.Public().ECDH(); err != nil || !bytes.Equal(k.Marshal(), public) || len(k.Name()) != 34 {
			t.Errorf("accepted %x: %v", public, err)
		}
	})
}
