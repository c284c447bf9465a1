package subkey_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"touchmark/appliance/sigformat/openpgp/certificate"
	sigpacket "touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// owner is a primary key that is kept elsewhere.
func owner(t testing.TB) (*pgp.Entity, *subkey.Primary) {
	t.Helper()
	e, err := pgp.NewEntity("Owner", "", "owner@touchmark.example", &packet.Config{Time: func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := e.PrimaryKey.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	p, err := subkey.ReadPrimary(raw.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if fpr := p.Fingerprint(); !bytes.Equal(e.PrimaryKey.Fingerprint, fpr[:]) {
		t.Fatal("another fingerprint")
	}
	return e, p
}

// token is a software key, and what it signs here.
type token struct{ *sigtest.Token }

var tokens = sync.OnceValue(func() (all []*token) {
	for _, k := range sigtest.Tokens() {
		all = append(all, &token{k})
	}
	return all
})

func (t *token) certificate(tb testing.TB) []byte {
	tb.Helper()
	cert, err := certificate.New(t.Key, "Test Packager <packager@touchmark.example>", t.Sign)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// agreed is a key's certificate after it agreed to a primary.
func (t *token) agreed(tb testing.TB, p *subkey.Primary) *certificate.Certificate {
	tb.Helper()
	c, err := certificate.Parse(t.certificate(tb))
	if err != nil {
		tb.Fatal(err)
	}
	x := certificate.Certification{Created: t.Created.Add(time.Hour), Primary: p, Origin: "touchmark.example/test", Order: message.JobID{7}}
	plan, err := c.Plan(x)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := t.Sign(plan.Digest, plan.Alg.Hash())
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := plan.Finish(raw)
	if err != nil {
		tb.Fatal(err)
	}
	next, err := c.With(x, sig)
	if err != nil || !bytes.Equal(next.Bytes(), c.Bytes()) || next.Bound == nil {
		tb.Fatalf("the certificate is another one: %v", err)
	}
	if err := (certificate.Keyring{c}).VerifyCertification(sig, message.Digest{Alg: plan.Alg, Sum: plan.Digest}); err != nil {
		tb.Error(err)
	}
	return next
}

// A binding request is one encoding, whose every bit counts, and go-crypto takes the
// agreement in it below the primary's own signature.
func TestBinding(t *testing.T) {
	e, p := owner(t)
	for _, k := range tokens() {
		raw := k.agreed(t, p).Bound.Bytes()
		b, err := subkey.ParseBinding(raw)
		if err != nil || !bytes.Equal(b.Bytes(), raw) || b.Primary.Fingerprint() != p.Fingerprint() || b.Key.Fingerprint() != k.Fingerprint() {
			t.Fatalf("%s: %v", k.Algorithm(), err)
		}
		if err := bound(e, b); err != nil {
			t.Errorf("%s: go-crypto: %v", k.Algorithm(), err)
		}
		step := 1
		if len(raw) > 512 {
			step = len(raw) / 64 // RSA takes its time
		}
		for n := 0; n < len(raw); n += step {
			if _, err := subkey.ParseBinding(raw[:n]); err == nil {
				t.Fatalf("%s: cut to %d bytes, and it is accepted", k.Algorithm(), n)
			}
			bad := bytes.Clone(raw)
			bad[n] ^= 1
			if _, err := subkey.ParseBinding(bad); err == nil {
				t.Fatalf("%s: byte %d changed, and it is accepted", k.Algorithm(), n)
			}
		}
	}
}

// bound has the primary take the key for a subkey and go-crypto look at both.
func bound(e *pgp.Entity, b *subkey.Binding) error {
	read, err := packet.Read(bytes.NewReader(b.Agreed))
	if err != nil {
		return err
	}
	sub, err := packet.Read(bytes.NewReader(b.Subkey()))
	if err != nil {
		return err
	}
	agreed, ok := read.(*packet.Signature)
	key, isKey := sub.(*packet.PublicKey)
	if !ok || !isKey {
		return errors.New("other packets")
	}
	sig := &packet.Signature{Version: 4, SigType: packet.SigTypeSubkeyBinding, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo, Hash: agreed.Hash,
		CreationTime: time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC), FlagsValid: true, FlagSign: true, EmbeddedSignature: agreed}
	if err := sig.SignKey(key, e.PrivateKey, nil); err != nil {
		return err
	}
	return e.PrimaryKey.VerifyKeySignature(key, sig)
}

func TestBindingRefused(t *testing.T) {
	_, p := owner(t)
	k := tokens()[0]
	c, err := certificate.Parse(k.certificate(t))
	if err != nil {
		t.Fatal(err)
	}
	self, err := subkey.ParsePrimary(k.Body())
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]certificate.Certification{
		"a primary and an expiry":  {Primary: p, Expires: k.Created.AddDate(1, 0, 0)},
		"a primary and a code":     {Primary: p, Code: certificate.Retired},
		"a primary and revocation": {Primary: p, Revoke: true},
		"itself":                   {Primary: self},
	} {
		x.Created, x.Origin = k.Created.Add(time.Hour), "touchmark.example/test"
		if _, err := c.Plan(x); err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	early := certificate.Certification{Primary: p, Created: k.Created.Add(-time.Second), Origin: "touchmark.example/test"}
	if _, err := c.Plan(early); err == nil {
		t.Error("an agreement from before the key")
	}
	bare := &certificate.Certificate{Key: k.Key}
	if _, err := bare.Plan(certificate.Certification{Primary: p, Created: k.Created, Origin: "touchmark.example/test"}); err == nil {
		t.Error("a key for no OpenPGP signatures agreed")
	}
	gone := *c
	gone.Revoked = true
	if _, err := gone.Plan(certificate.Certification{Primary: p, Created: k.Created, Origin: "touchmark.example/test"}); !errors.Is(err, certificate.ErrRevoked) {
		t.Errorf("a revoked key agreed: %v", err)
	}
	for name, body := range map[string][]byte{
		"none": nil, "short": {4, 0, 0, 0, 0, 1, 0}, "version 3": append([]byte{3}, p.Body()[1:]...), "for encryption": {4, 0, 0, 0, 0, 18, 0, 0, 0}, "huge": append(bytes.Clone(p.Body()), make([]byte, subkey.MaxPrimary)...),
	} {
		if _, err := subkey.ParsePrimary(body); err == nil {
			t.Errorf("%s was taken for a primary", name)
		}
	}
}

func FuzzParseBinding(f *testing.F) {
	_, p := owner(f)
	for _, k := range tokens() {
		f.Add(k.agreed(f, p).Bound.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := subkey.ParseBinding(raw); err == nil && !bytes.Equal(b.Bytes(), raw) {
			t.Fatal("not in canonical form")
		}
	})
}

// FuzzReadPrimary: a file from outside, in whatever framing.
func FuzzReadPrimary(f *testing.F) {
	e, p := owner(f)
	var raw bytes.Buffer
	if err := e.Serialize(&raw); err != nil {
		f.Fatal(err)
	}
	f.Add(raw.Bytes())
	f.Add(sigpacket.Append(nil, sigpacket.TagPublicKey, p.Body()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := subkey.ReadPrimary(raw)
		if err != nil {
			return
		}
		if again, err := subkey.ParsePrimary(p.Body()); err != nil || again.Fingerprint() != p.Fingerprint() {
			t.Fatal("a primary that is none")
		}
	})
}
