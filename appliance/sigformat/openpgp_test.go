package sigformat_test

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// TestGoCryptoFacts: go-crypto, which hashes the whole data itself, agrees with
// every fact in a signature.
func TestGoCryptoFacts(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		data := []byte("package database")
		sig := k.signature(t, sigtest.StateOf(alg, data))
		got, by, err := pgp.VerifyDetachedSignature(sigtest.Keyring(t, k.certificate(t)), bytes.NewReader(data), bytes.NewReader(sig),
			&packet.Config{Time: func() time.Time { return sigtest.When.Add(time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		if by.PrimaryKey.Fingerprint == nil || !bytes.Equal(by.PrimaryKey.Fingerprint, fpr(k)) {
			t.Fatal("fingerprint differs from go-crypto's")
		}
		n := got.Notations
		if !got.CreationTime.Equal(sigtest.When) || got.SigType != packet.SigTypeBinary || got.Hash != alg.Hash() ||
			len(n) != 1 || n[0].Name != "touchmark@touchmark.example" || n[0].IsCritical || !n[0].IsHumanReadable ||
			string(n[0].Value) != sigtest.Origin+"#"+(message.JobID{1, 2, 3}).String() {
			t.Fatalf("go-crypto reads other facts: %+v", got)
		}
	})
}

func TestSignatureRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		s := sigtest.StateOf(alg, []byte("some data"))
		sig := k.signature(t, s)
		p, err := sigformat.OpenPGPBinary.Verify(k.Key, sig, s)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Created.Equal(sigtest.When) || p.Alg != alg || p.Origin != sigtest.Origin ||
			p.Job != (message.JobID{1, 2, 3}) || p.Fingerprint != k.Fingerprint() {
			t.Fatalf("parsed: %+v", p)
		}
		plan, err := sigformat.OpenPGPBinary.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openpgp.VerifyDigest(k.Key, sig, plan.Digest); err != nil {
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
		s := sigtest.StateOf(alg, []byte("some data"))
		sig := k.signature(t, s)
		plan, err := sigformat.OpenPGPBinary.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range k.Bits(sig) {
			bad := bytes.Clone(sig)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := sigformat.OpenPGPBinary.Verify(k.Key, bad, s); err == nil {
				t.Fatalf("bit %d of byte %d changed, and it verifies", i%8, i/8)
			}
		}
		for n := range sig {
			if _, err := openpgp.ParseSignature(sig[:n]); err == nil {
				t.Fatalf("cut to %d bytes, and it parses", n)
			}
		}
		if _, err := openpgp.ParseSignature(append(bytes.Clone(sig), sig...)); err == nil {
			t.Fatal("two signatures parse as one")
		}
		if _, err := openpgp.VerifyDigest(k.Key, sig, plan.Digest[1:]); err == nil {
			t.Fatal("a short digest verifies")
		}
	})
}

func TestWrongKeyOrData(t *testing.T) {
	ec, rs := tokens()[0], tokens()[1]
	s := sigtest.StateOf(message.SHA256, []byte("some data"))
	if _, err := sigformat.OpenPGPBinary.Verify(rs.Key, ec.signature(t, s), s); err == nil {
		t.Error("another key's signature verifies")
	}
	for _, o := range []hashstate.State{sigtest.StateOf(message.SHA256, []byte("same data")), sigtest.StateOf(message.SHA512, []byte("some data"))} {
		if _, err := sigformat.OpenPGPBinary.Verify(ec.Key, ec.signature(t, s), o); err == nil {
			t.Error("verifies over other data")
		}
	}
	younger, err := signing.NewKey(ec.Public, sigtest.Born.Add(time.Second))
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
		plan, err := sigformat.OpenPGPBinary.Plan(k.Key, sigtest.StateOf(alg, nil), sigtest.When, sigtest.Origin, message.JobID{})
		if err != nil {
			t.Fatal(err)
		}
		good, err := k.Sign(plan.Digest, alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		other, err := k.Sign(bytes.Repeat([]byte{7}, alg.Size()), alg.Hash())
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
	k, s := tokens()[0], sigtest.StateOf(message.SHA256, []byte("x"))
	for range 5000 {
		sig := k.signature(t, s)
		if _, err := sigformat.OpenPGPBinary.Verify(k.Key, sig, s); err != nil {
			t.Fatal(err)
		}
		if r, v := integers(t, sig); len(r) < 32 || len(v) < 32 {
			return
		}
	}
	t.Fatal("no short integer in 5000 signatures")
}

// integers takes both of an ECDSA signature's packet.
func integers(t *testing.T, sig []byte) (r, s []byte) {
	t.Helper()
	read, err := packet.Read(bytes.NewReader(sig))
	if err != nil {
		t.Fatal(err)
	}
	p := read.(*packet.Signature)
	return p.ECDSASigR.Bytes(), p.ECDSASigS.Bytes()
}

func TestPlanRefused(t *testing.T) {
	k, s := tokens()[0].Key, sigtest.StateOf(message.SHA256, nil)
	plan := func(s hashstate.State, at time.Time, origin string) error {
		_, err := sigformat.OpenPGPBinary.Plan(k, s, at, origin, message.JobID{})
		return err
	}
	for name, err := range map[string]error{
		"before the key": plan(s, sigtest.Born.Add(-time.Second), sigtest.Origin),
		"fraction":       plan(s, sigtest.When.Add(1), sigtest.Origin),
		"zero state":     plan(hashstate.State{}, sigtest.When, sigtest.Origin),
		"no origin":      plan(s, sigtest.When, ""),
		"space":          plan(s, sigtest.When, "a b"),
		"hash sign":      plan(s, sigtest.When, "a#b"),
		"no host":        plan(s, sigtest.When, "/a"),
		"long":           plan(s, sigtest.When, strings.Repeat("a", message.MaxOrigin+1)),
		"not ASCII":      plan(s, sigtest.When, "ä.example"),
	} {
		if err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	if err := plan(s, sigtest.When, strings.Repeat("a", message.MaxOrigin)); err != nil {
		t.Error(err)
	}
}

func TestLongOrigin(t *testing.T) {
	for _, k := range tokens() {
		s := sigtest.StateOf(message.SHA512, []byte("data"))
		p, err := sigformat.OpenPGPBinary.Plan(k.Key, s, sigtest.When, strings.Repeat("a", message.MaxOrigin), message.JobID{9})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := k.Sign(p.Digest, p.Alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := p.Finish(raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(sig) > openpgp.MaxSignature {
			t.Fatalf("%d bytes", len(sig))
		}
		if _, err := sigformat.OpenPGPBinary.Verify(k.Key, sig, s); err != nil {
			t.Fatal(err)
		}
		_, _, err = pgp.VerifyDetachedSignature(sigtest.Keyring(t, k.certificate(t)), strings.NewReader("data"), bytes.NewReader(sig),
			&packet.Config{Time: func() time.Time { return sigtest.When }})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeignSignatures: valid OpenPGP signatures of the same key in another
// form than the profile are refused.
func TestForeignSignatures(t *testing.T) {
	ec := tokens()[0]
	ring := sigtest.Keyring(t, ec.certificate(t))
	priv := &packet.PrivateKey{PublicKey: *ring[0].PrimaryKey, PrivateKey: ec.Signer}
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: packet.PubKeyAlgoECDSA, Hash: message.SHA256.Hash(),
		CreationTime: sigtest.When, IssuerKeyId: &priv.KeyId, IssuerFingerprint: priv.Fingerprint,
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
	if _, err := openpgp.ParseSignature(b.Bytes()); err == nil {
		t.Fatal("a go-crypto signature of another form is accepted")
	}
}
