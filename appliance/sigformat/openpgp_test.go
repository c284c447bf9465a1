package sigformat

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"touchmark/hostlink/message"
)

func keyring(tb testing.TB, cert []byte) openpgp.EntityList {
	tb.Helper()
	ring, err := openpgp.ReadKeyRing(bytes.NewReader(cert))
	if err != nil {
		tb.Fatalf("go-crypto does not read the certificate: %v", err)
	}
	return ring
}

// TestGoCryptoFacts: go-crypto, which hashes the whole data itself, agrees with
// every fact in a signature.
func TestGoCryptoFacts(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		data := []byte("package database")
		sig := k.signature(t, stateOf(alg, data))
		got, by, err := openpgp.VerifyDetachedSignature(keyring(t, k.certificate(t)), bytes.NewReader(data), bytes.NewReader(sig),
			&packet.Config{Time: func() time.Time { return when.Add(time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		if by.PrimaryKey.Fingerprint == nil || !bytes.Equal(by.PrimaryKey.Fingerprint, k.fingerprint[:]) {
			t.Fatal("fingerprint differs from go-crypto's")
		}
		n := got.Notations
		if !got.CreationTime.Equal(when) || got.SigType != packet.SigTypeBinary || got.Hash != alg.Hash() ||
			len(n) != 1 || n[0].Name != "touchmark@touchmark.example" || n[0].IsCritical || !n[0].IsHumanReadable ||
			string(n[0].Value) != testOrigin+"#"+(message.JobID{1, 2, 3}).String() {
			t.Fatalf("go-crypto reads other facts: %+v", got)
		}
	})
}

func TestSignatureRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		s := stateOf(alg, []byte("some data"))
		sig := k.signature(t, s)
		p, err := OpenPGPBinary.Verify(k.Key, sig, s)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Created.Equal(when) || p.Alg != alg || p.Origin != testOrigin ||
			p.Job != (message.JobID{1, 2, 3}) || p.Fingerprint != k.Fingerprint() {
			t.Fatalf("parsed: %+v", p)
		}
		plan, err := OpenPGPBinary.Plan(k.Key, s, when, testOrigin, message.JobID{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.VerifyDigest(sig, plan.Digest); err != nil {
			t.Fatal(err)
		}
		if len(plan.Digest) != alg.Size() {
			t.Fatal("digest size")
		}
	})
}

// TestEveryBit flips each bit of a signature: whatever still parses must not
// verify, neither over the state nor over the digest.
func TestEveryBit(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		s := stateOf(alg, []byte("some data"))
		sig := k.signature(t, s)
		plan, err := OpenPGPBinary.Plan(k.Key, s, when, testOrigin, message.JobID{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range k.bits(sig) {
			bad := bytes.Clone(sig)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := OpenPGPBinary.Verify(k.Key, bad, s); err == nil {
				t.Fatalf("bit %d of byte %d changed, and it verifies", i%8, i/8)
			}
		}
		for n := range sig {
			if _, err := ParseSignature(sig[:n]); err == nil {
				t.Fatalf("cut to %d bytes, and it parses", n)
			}
		}
		if _, err := ParseSignature(append(bytes.Clone(sig), sig...)); err == nil {
			t.Fatal("two signatures parse as one")
		}
		if _, err := k.VerifyDigest(sig, plan.Digest[1:]); err == nil {
			t.Fatal("a short digest verifies")
		}
	})
}

func TestWrongKeyOrData(t *testing.T) {
	ec, rs := tokens()[0], tokens()[1]
	s := stateOf(message.SHA256, []byte("some data"))
	if _, err := OpenPGPBinary.Verify(rs.Key, ec.signature(t, s), s); err == nil {
		t.Error("another key's signature verifies")
	}
	for _, o := range []State{stateOf(message.SHA256, []byte("same data")), stateOf(message.SHA512, []byte("some data"))} {
		if _, err := OpenPGPBinary.Verify(ec.Key, ec.signature(t, s), o); err == nil {
			t.Error("verifies over other data")
		}
	}
	younger, err := NewKey(ec.Public, born.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if younger.Fingerprint() == ec.Fingerprint() {
		t.Error("creation time is not in the fingerprint")
	}
}

// TestFinishRefuses: whatever a token returns that is not a good signature of
// exactly this digest gives no packet.
func TestFinishRefuses(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		plan, err := OpenPGPBinary.Plan(k.Key, stateOf(alg, nil), when, testOrigin, message.JobID{})
		if err != nil {
			t.Fatal(err)
		}
		good, err := k.sign(plan.Digest, alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		other, err := k.sign(bytes.Repeat([]byte{7}, alg.Size()), alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		huge, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).Lsh(big.NewInt(1), 300), big.NewInt(1)})
		if err != nil {
			t.Fatal(err)
		}
		negative, err := asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(-5), big.NewInt(0)})
		if err != nil {
			t.Fatal(err)
		}
		for name, raw := range map[string][]byte{
			"nothing": nil, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
			"other digest": other, "zeros": make([]byte, len(good)), "huge": huge, "negative": negative,
		} {
			if sig, err := plan.Finish(raw); err == nil || sig != nil {
				t.Errorf("%s: packet made", name)
			}
		}
	})
}

// TestMPINormalised draws ECDSA signatures until r or s is shorter than 32
// bytes, and checks that gpg's rule (no leading zeros) holds and it verifies.
func TestMPINormalised(t *testing.T) {
	k, s := tokens()[0], stateOf(message.SHA256, []byte("x"))
	for range 5000 {
		sig := k.signature(t, s)
		p, err := OpenPGPBinary.Verify(k.Key, sig, s)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.values[0]) < 32 || len(p.values[1]) < 32 {
			return
		}
	}
	t.Fatal("no short integer in 5000 signatures")
}

func TestKeysRefused(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := tokens()[1].Public.(*rsa.PublicKey)
	for name, pub := range map[string]any{
		"P-521": p521.Public(), "short Ed25519": ed25519.PublicKey{1}, "RSA-1024": small.Public(), "nil": nil, "nil RSA": (*rsa.PublicKey)(nil),
		"exponent 3": &rsa.PublicKey{N: good.N, E: 3}, "string": "key", "nil EC": (*ecdsa.PublicKey)(nil),
	} {
		if _, err := NewKey(pub, born); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for _, at := range []time.Time{{}, time.Unix(minTime-1, 0), time.Unix(maxTime+1, 0), born.Add(time.Millisecond)} {
		if _, err := NewKey(good, at); err == nil {
			t.Errorf("creation time %s accepted", at)
		}
	}
}

func TestPlanRefused(t *testing.T) {
	k, s := tokens()[0].Key, stateOf(message.SHA256, nil)
	plan := func(s State, at time.Time, origin string) error {
		_, err := OpenPGPBinary.Plan(k, s, at, origin, message.JobID{})
		return err
	}
	for name, err := range map[string]error{
		"before the key": plan(s, born.Add(-time.Second), testOrigin),
		"fraction":       plan(s, when.Add(1), testOrigin),
		"zero state":     plan(State{}, when, testOrigin),
		"no origin":      plan(s, when, ""),
		"space":          plan(s, when, "a b"),
		"hash sign":      plan(s, when, "a#b"),
		"no host":        plan(s, when, "/a"),
		"long":           plan(s, when, strings.Repeat("a", message.MaxOrigin+1)),
		"not ASCII":      plan(s, when, "ä.example"),
	} {
		if err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	if err := plan(s, when, strings.Repeat("a", message.MaxOrigin)); err != nil {
		t.Error(err)
	}
}

func TestLongOrigin(t *testing.T) {
	for _, k := range tokens() {
		s := stateOf(message.SHA512, []byte("data"))
		p, err := OpenPGPBinary.Plan(k.Key, s, when, strings.Repeat("a", message.MaxOrigin), message.JobID{9})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := k.sign(p.Digest, p.Alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := p.Finish(raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(sig) > MaxSignature {
			t.Fatalf("%d bytes", len(sig))
		}
		if _, err := OpenPGPBinary.Verify(k.Key, sig, s); err != nil {
			t.Fatal(err)
		}
		_, _, err = openpgp.VerifyDetachedSignature(keyring(t, k.certificate(t)), strings.NewReader("data"), bytes.NewReader(sig),
			&packet.Config{Time: func() time.Time { return when }})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeignSignatures: valid OpenPGP signatures of the same key in another
// form than the profile are refused.
func TestForeignSignatures(t *testing.T) {
	ec := tokens()[0]
	ring := keyring(t, ec.certificate(t))
	priv := &packet.PrivateKey{PublicKey: *ring[0].PrimaryKey, PrivateKey: ec.signer}
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: packet.PubKeyAlgoECDSA, Hash: message.SHA256.Hash(),
		CreationTime: when, IssuerKeyId: &priv.KeyId, IssuerFingerprint: priv.Fingerprint,
	}
	h := message.SHA256.Hash().New()
	h.Write([]byte("some data"))
	if err := sig.Sign(h, priv, &packet.Config{}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSignature(b.Bytes()); err == nil {
		t.Fatal("a go-crypto signature of another form is accepted")
	}
}

func FuzzParseSignature(f *testing.F) {
	for _, k := range tokens() {
		f.Add(k.signature(f, stateOf(k.certAlg(), []byte("abc"))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseSignature(b)
		if err != nil {
			return
		}
		if again := p.marshal(); !bytes.Equal(again, b) {
			t.Fatalf("parse → marshal is not the identity:\n%x\n%x", b, again)
		}
	})
}

// marshal rebuilds the packet from the parsed facts alone.
func (p *Signature) marshal() []byte {
	stamp, err := stampOf(p.Created)
	if err != nil {
		panic(err)
	}
	note, err := notation(p.Origin, p.Job)
	if err != nil {
		panic(err)
	}
	area := appendSubpacket(nil, subCreated, stamp...)
	area = appendSubpacket(area, subFingerprint, append([]byte{4}, p.Fingerprint[:]...)...)
	area = appendSubpacket(area, subNotation, note...)
	kind := byte(typeBinary)
	if p.Text {
		kind = typeText
	}
	b := []byte{4, kind, p.algo, hashIDs[p.Alg], byte(len(area) >> 8), byte(len(area))}
	b = append(append(b, area...), 0, 10)
	b = appendSubpacket(b, subIssuer, p.Fingerprint[12:]...)
	b = append(b, p.left[:]...)
	for _, v := range p.values {
		b = AppendMPI(b, v)
	}
	return appendPacket(nil, tagSignature, b)
}
