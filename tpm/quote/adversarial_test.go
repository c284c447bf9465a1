package quote_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

var tag = quote.CertifyTag(x)

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func sized(b []byte) []byte { return cat(u16(uint16(len(b))), b) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestDishonestNV has the AK sign what no honest TPM would say of HEAD.
func TestDishonestNV(t *testing.T) {
	tpm := quotetest.New()
	name, contents := sized(tpm.HeadName()), sized(tpm.Head[:])
	honest := cat(name, u16(0), contents)
	verify := func(a quote.Attestation) error {
		_, err := tpm.AK().VerifyNV(a, tpm.HeadName(), tag)
		return err
	}
	if err := verify(tpm.Attest(0x8014, tag[:], honest)); err != nil {
		t.Fatal(err)
	}
	for what, a := range map[string]quote.Attestation{
		"type quote":       tpm.Attest(0x8018, tag[:], honest),
		"type NV_DIGEST":   tpm.Attest(0x801c, tag[:], honest),
		"no extraData":     tpm.Attest(0x8014, nil, honest),
		"short extraData":  tpm.Attest(0x8014, tag[:31], honest),
		"long extraData":   tpm.Attest(0x8014, append(tag[:], 0), honest),
		"other index":      tpm.Attest(0x8014, tag[:], cat(sized(quote.HeadName(0x01800101)), u16(0), contents)),
		"no name":          tpm.Attest(0x8014, tag[:], cat(sized(nil), u16(0), contents)),
		"offset 1":         tpm.Attest(0x8014, tag[:], cat(name, u16(1), contents)),
		"31 bytes":         tpm.Attest(0x8014, tag[:], cat(name, u16(0), sized(tpm.Head[:31]))),
		"33 bytes":         tpm.Attest(0x8014, tag[:], cat(name, u16(0), sized(make([]byte, 33)))),
		"no contents":      tpm.Attest(0x8014, tag[:], cat(name, u16(0), sized(nil))),
		"trailing byte":    tpm.Attest(0x8014, tag[:], cat(honest, []byte{0})),
		"over the limit":   tpm.Attest(0x8014, tag[:], cat(honest, make([]byte, quote.MaxAttest))),
		"nothing":          tpm.Sign(nil),
		"wrong magic":      resigned(tpm, 0, 0xfe),
		"unsafe is 2":      resigned(tpm, 4+2+36+34+16, 2),
		"another signer":   flipped(tpm, 10),
		"signer too long":  resigned(tpm, 7, 35),
		"signer too short": resigned(tpm, 7, 33),
	} {
		if verify(a) == nil {
			t.Errorf("%s accepted", what)
		}
	}
}

// TestNoName: an attestation without a Name is not one of "no HEAD" either.
func TestNoName(t *testing.T) {
	tpm := quotetest.New()
	a := tpm.Attest(0x8014, tag[:], cat(sized(nil), u16(0), sized(tpm.Head[:])))
	if _, err := tpm.AK().VerifyNV(a, nil, tag); err == nil {
		t.Error("accepted")
	}
}

// TestLimits: what is too long is refused for that, before anything is done
// with it.
func TestLimits(t *testing.T) {
	tpm := quotetest.New()
	long := make([]byte, 1<<16)
	_, nv := tpm.AK().VerifyNV(tpm.Sign(long[:quote.MaxAttest+1]), tpm.HeadName(), tag)
	_, ak := quote.ParseAK(long[:quote.MaxPublic+1])
	_, _, sig := quote.ParseSignature(long[:quote.MaxSignature+1])
	creation := tpm.AK().VerifyCreation(certified(tpm, long[:quote.MaxCreation+1], nil), nil)
	for what, err := range map[string]error{"attestation": nv, "AK": ak, "signature": sig, "creation data": creation} {
		if err == nil || !strings.Contains(err.Error(), "over the limit") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// resigned sets one byte of an honest attestation and signs it again.
func resigned(tpm *quotetest.TPM, at int, to byte) quote.Attestation {
	attest := tpm.CertifyHead(tag).Attest
	attest[at] = to
	return tpm.Sign(attest)
}

// flipped changes one byte of an honest attestation, whatever it was.
func flipped(tpm *quotetest.TPM, at int) quote.Attestation {
	attest := tpm.CertifyHead(tag).Attest
	attest[at] ^= 1
	return tpm.Sign(attest)
}

// TestTruncated signs every true prefix of every kind of attestation.
func TestTruncated(t *testing.T) {
	tpm := quotetest.New()
	ak := tpm.AK()
	creation := tpm.Creation(nil)
	for n := range tpm.CertifyHead(tag).Attest {
		if _, err := ak.VerifyNV(tpm.Sign(tpm.CertifyHead(tag).Attest[:n]), tpm.HeadName(), tag); err == nil {
			t.Errorf("NV attestation cut to %d bytes accepted", n)
		}
	}
	for n := range tpm.QuotePCR(tag).Attest {
		if _, err := ak.VerifyQuote(tpm.Sign(tpm.QuotePCR(tag).Attest[:n]), 14, tag); err == nil {
			t.Errorf("quote cut to %d bytes accepted", n)
		}
	}
	for n := range creation.Attest {
		a := tpm.Sign(creation.Attest[:n])
		if ak.VerifyCreation(quote.Creation{Data: creation.Data, Attest: a.Attest, Sig: a.Sig}, nil) == nil {
			t.Errorf("creation cut to %d bytes accepted", n)
		}
	}
	for n := range creation.Data {
		if ak.VerifyCreation(certified(tpm, creation.Data[:n], nil), nil) == nil {
			t.Errorf("creation data cut to %d bytes accepted", n)
		}
	}
}

// certified makes the TPM certify any creation data.
func certified(tpm *quotetest.TPM, data, outside []byte) quote.Creation {
	hash, extra := sha256.Sum256(data), quote.CreationTag(outside)
	a := tpm.Attest(0x801a, extra[:], cat(sized(tpm.AK().Name()), sized(hash[:])))
	return quote.Creation{Data: data, Attest: a.Attest, Sig: a.Sig}
}

func TestDishonestQuote(t *testing.T) {
	tpm := quotetest.New()
	digest := quote.PCRDigest(tpm.PCR)
	verify := func(pcr int, selection []byte, digest []byte) error {
		_, err := tpm.AK().VerifyQuote(tpm.Attest(0x8018, tag[:], cat(selection, sized(digest))), pcr, tag)
		return err
	}
	one := func(bank uint16, bits ...byte) []byte {
		return cat(u32(1), u16(bank), []byte{byte(len(bits))}, bits)
	}
	for _, bits := range [][]byte{{0, 0x40}, {0, 0x40, 0}, {0, 0x40, 0, 0}} {
		if err := verify(14, one(0x0b, bits...), digest[:]); err != nil {
			t.Errorf("selection %x: %v", bits, err)
		}
	}
	for what, err := range map[string]error{
		"no bank":           verify(14, u32(0), digest[:]),
		"empty selection":   verify(14, one(0x0b, 0, 0, 0), digest[:]),
		"no octets":         verify(14, one(0x0b), digest[:]),
		"one octet":         verify(14, one(0x0b, 0), digest[:]),
		"five octets":       verify(14, one(0x0b, 0, 0x40, 0, 0, 0), digest[:]),
		"another PCR":       verify(14, one(0x0b, 0, 0x80, 0), digest[:]),
		"two PCRs":          verify(14, one(0x0b, 0, 0xc0, 0), digest[:]),
		"all PCRs":          verify(14, one(0x0b, 0xff, 0xff, 0xff), digest[:]),
		"SHA-1 bank":        verify(14, one(0x04, 0, 0x40, 0), digest[:]),
		"SHA-384 bank":      verify(14, one(0x0c, 0, 0x40, 0), digest[:]),
		"the bank twice":    verify(14, cat(u32(2), one(0x0b, 0, 0x40, 0)[4:], one(0x0b, 0, 0x40, 0)[4:]), digest[:]),
		"2^32-1 banks":      verify(14, u32(0xffffffff), digest[:]),
		"no digest":         verify(14, one(0x0b, 0, 0x40, 0), nil),
		"short digest":      verify(14, one(0x0b, 0, 0x40, 0), digest[:20]),
		"negative PCR":      verify(-1, one(0x0b, 0, 0, 0), digest[:]),
		"PCR out of octets": verify(24, one(0x0b, 0, 0, 0), digest[:]),
	} {
		if err == nil {
			t.Errorf("%s accepted", what)
		}
	}
}

func TestDishonestCreation(t *testing.T) {
	tpm := quotetest.New()
	owner, endorsement := sized(u32(0x40000001)), sized(u32(0x4000000b))
	null := u16(0x10)
	data := func(pcrs, alg, parent, qualified []byte) []byte {
		return cat(pcrs, sized(nil), []byte{1}, alg, parent, qualified, sized([]byte("o")))
	}
	none, some := u32(0), cat(u32(1), u16(0x0b), []byte{3, 1, 0, 0})
	verify := func(data []byte) error {
		return tpm.AK().VerifyCreation(certified(tpm, data, []byte("o")), []byte("o"))
	}
	if err := verify(data(none, null, owner, owner)); err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{
		"endorsement hierarchy": data(none, null, endorsement, endorsement),
		"parent owner only":     data(none, null, owner, endorsement),
		"under another key":     data(none, u16(0x0b), sized(tpm.AK().Name()), sized(tpm.AK().Name())),
		"bound to PCRs":         data(some, null, owner, owner),
		"trailing byte":         append(data(none, null, owner, owner), 0),
		"over the limit":        append(data(none, null, owner, owner), make([]byte, quote.MaxCreation)...),
	} {
		if verify(bad) == nil {
			t.Errorf("%s accepted", what)
		}
	}
	good := data(none, null, owner, owner)
	if tpm.AK().VerifyCreation(certified(tpm, good, []byte("other")), []byte("other")) == nil {
		t.Error("outsideInfo that is only in the tag accepted")
	}
	hash, extra := sha256.Sum256(good), quote.CreationTag([]byte("o"))
	a := tpm.Attest(0x801a, extra[:], cat(sized(tpm.HeadName()), sized(hash[:])))
	if tpm.AK().VerifyCreation(quote.Creation{Data: good, Attest: a.Attest, Sig: a.Sig}, []byte("o")) == nil {
		t.Error("creation of another object accepted")
	}
	other := tpm.Creation([]byte("o"))
	other.Data = data(none, null, owner, owner)
	if tpm.AK().VerifyCreation(other, []byte("o")) == nil {
		t.Error("creation data that were not certified accepted")
	}
	if quotetest.New().AK().VerifyCreation(tpm.Creation(nil), nil) == nil {
		t.Error("creation of another AK accepted")
	}
}

// TestAKTemplate: no bit of an AK before its point can differ.
func TestAKTemplate(t *testing.T) {
	public := quotetest.New().Public()
	const pointAt = 22 // after x's size
	for bit := range pointAt * 8 {
		bad := bytes.Clone(public)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := quote.ParseAK(bad); err == nil {
			t.Errorf("AK with bit %d flipped accepted", bit)
		}
	}
	for n := range public {
		if _, err := quote.ParseAK(public[:n]); err == nil {
			t.Errorf("AK cut to %d bytes accepted", n)
		}
	}
	head := public[:20]
	point := public[20:]
	for what, bad := range map[string][]byte{
		"trailing byte":  append(bytes.Clone(public), 0),
		"over the limit": append(bytes.Clone(public), make([]byte, quote.MaxPublic)...),
		"not on curve":   cat(head, point[:len(point)-1], []byte{point[len(point)-1] ^ 1}),
		"infinity":       cat(head, sized(make([]byte, 32)), sized(make([]byte, 32))),
		"no point":       cat(head, sized(nil), sized(nil)),
		"33-byte x":      cat(head, sized(append([]byte{0}, point[2:34]...)), point[34:]),
		"x over p":       cat(head, sized(elliptic.P256().Params().P.Bytes()), point[34:]),
	} {
		if _, err := quote.ParseAK(bad); err == nil {
			t.Errorf("%s accepted", what)
		}
	}
}

// TestShortCoordinate: a TPM may leave leading zeros out; the Name is over the
// bytes as they are.
func TestShortCoordinate(t *testing.T) {
	for range 10000 {
		tpm := quotetest.New()
		public := tpm.Public()
		if public[22] != 0 {
			continue
		}
		short := cat(public[:20], sized(public[23:54]), public[54:])
		k, err := quote.ParseAK(short)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Public().Equal(&tpm.Key.PublicKey) || !bytes.Equal(k.Marshal(), short) || bytes.Equal(k.Name(), tpm.AK().Name()) {
			t.Error("short coordinate misread")
		}
		return
	}
	t.Error("no key with a leading zero in 10000")
}

func TestSignatureForm(t *testing.T) {
	order := elliptic.P256().Params().N
	sig := func(alg, hash uint16, r, s []byte) []byte { return cat(u16(alg), u16(hash), sized(r), sized(s)) }
	one, last := []byte{1}, new(big.Int).Sub(order, big.NewInt(1)).Bytes()
	for _, good := range [][]byte{sig(0x18, 0x0b, one, last), sig(0x18, 0x0b, append(make([]byte, 31), 1), one)} {
		if _, _, err := quote.ParseSignature(good); err != nil {
			t.Errorf("%x: %v", good, err)
		}
	}
	for what, bad := range map[string][]byte{
		"empty":          nil,
		"r zero":         sig(0x18, 0x0b, make([]byte, 32), one),
		"s zero":         sig(0x18, 0x0b, one, nil),
		"r the order":    sig(0x18, 0x0b, order.Bytes(), one),
		"s 2^256-1":      sig(0x18, 0x0b, one, bytes.Repeat([]byte{0xff}, 32)),
		"33 bytes":       sig(0x18, 0x0b, append(make([]byte, 32), 1), one),
		"RSASSA":         sig(0x14, 0x0b, one, one),
		"ECDAA":          sig(0x1a, 0x0b, one, one),
		"SHA-1":          sig(0x18, 0x04, one, one),
		"trailing byte":  append(sig(0x18, 0x0b, one, one), 0),
		"over the limit": make([]byte, quote.MaxSignature+1),
	} {
		if _, _, err := quote.ParseSignature(bad); err == nil {
			t.Errorf("%s accepted", what)
		}
	}
}

// TestAnyState: whatever a TPM holds verifies as that, and as nothing else.
func TestAnyState(t *testing.T) {
	tpm := quotetest.New()
	ak := tpm.AK()
	bytes32 := rapid.SliceOfN(rapid.Byte(), 32, 32)
	rapid.Check(t, func(t *rapid.T) {
		tpm.Head, tpm.PCR = [32]byte(bytes32.Draw(t, "head")), [32]byte(bytes32.Draw(t, "pcr"))
		tpm.PCRIndex = rapid.IntRange(0, 23).Draw(t, "index")
		tpm.Clock = quote.Clock{Millis: rapid.Uint64().Draw(t, "ms"), ResetCount: rapid.Uint32().Draw(t, "resets"),
			RestartCount: rapid.Uint32().Draw(t, "restarts"), Safe: rapid.Bool().Draw(t, "safe")}
		tag, other := [32]byte(bytes32.Draw(t, "tag")), [32]byte(bytes32.Draw(t, "other"))
		a := tpm.CertifyHead(tag)
		nv, err := ak.VerifyNV(a, tpm.HeadName(), tag)
		if err != nil || nv.Contents != tpm.Head || nv.Clock != tpm.Clock {
			t.Fatalf("%+v, %v", nv, err)
		}
		if _, err := ak.VerifyNV(a, tpm.HeadName(), other); (err == nil) != (tag == other) {
			t.Fatalf("other tag: %v", err)
		}
		q, err := ak.VerifyQuote(tpm.QuotePCR(tag), tpm.PCRIndex, tag)
		if err != nil || q.PCRDigest != sha256.Sum256(tpm.PCR[:]) {
			t.Fatalf("%+v, %v", q, err)
		}
		flip := rapid.IntRange(0, len(a.Attest)*8-1).Draw(t, "flip")
		a.Attest[flip/8] ^= 1 << (flip % 8)
		if _, err := ak.VerifyNV(a, tpm.HeadName(), tag); err == nil {
			t.Fatal("changed attestation accepted")
		}
	})
}
