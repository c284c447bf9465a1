package certificate

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/sigtest"
)

func TestCertificateRoundTrip(t *testing.T) {
	for _, k := range tokens() {
		cert := k.certificate(t)
		c, err := Parse(cert)
		if err != nil {
			t.Fatal(err)
		}
		got, uid := c.Key, c.UserID
		if got.Fingerprint() != k.Fingerprint() || !got.Created.Equal(sigtest.Born) || got.Algorithm() != k.Algorithm() ||
			uid != "Test Packager <packager@touchmark.example>" {
			t.Fatalf("parsed %+v, %q", got, uid)
		}
		ring := sigtest.Keyring(t, cert)
		id := ring[0].PrimaryIdentity()
		if len(ring) != 1 || id.Name != uid || !id.SelfSignature.FlagSign || !id.SelfSignature.FlagCertify ||
			!ring[0].PrimaryKey.CreationTime.Equal(sigtest.Born) || id.SelfSignature.KeyLifetimeSecs != nil {
			t.Fatalf("go-crypto reads other facts: %+v", id.SelfSignature)
		}
		armored, err := pgp.ReadArmoredKeyRing(bytes.NewReader(openpgp.Armor(cert)))
		if err != nil || !bytes.Equal(armored[0].PrimaryKey.Fingerprint, ring[0].PrimaryKey.Fingerprint) || [20]byte(ring[0].PrimaryKey.Fingerprint) != k.Fingerprint() {
			t.Fatalf("armor: %v", err)
		}
	}
}

func TestCertificateEveryBit(t *testing.T) {
	for _, k := range tokens() {
		cert := k.certificate(t)
		for _, i := range k.Bits(cert) {
			bad := bytes.Clone(cert)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := Parse(bad); err == nil {
				t.Fatalf("%s: bit %d of byte %d changed, and it is accepted", k.Algorithm(), i%8, i/8)
			}
		}
		for n := range cert {
			if c, err := Parse(cert[:n]); err == nil && !c.Bare() {
				t.Fatalf("cut to %d bytes, and it is accepted", n)
			}
		}
		if _, err := Parse(append(bytes.Clone(cert), 0)); err == nil {
			t.Fatal("trailing byte accepted")
		}
	}
}

// A certificate may expire from the beginning, in whole seconds and not before it is
// made; go-crypto reads the same, and a renewal moves it.
func TestCertificateUntil(t *testing.T) {
	for _, k := range tokens() {
		until := k.Created.AddDate(2, 0, 0)
		raw, err := NewWithTerms(k.Key, "Until <until@touchmark.example>", Terms{Expires: until}, k.Sign)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(raw)
		if err != nil || !c.Expires.Equal(until) || !c.Fresh() || c.Usable(until) == nil || c.Usable(until.Add(-time.Second)) != nil || !bytes.Equal(c.Bytes(), raw) {
			t.Fatalf("%s: %+v, %v", k.Algorithm(), c, err)
		}
		ring, err := pgp.ReadKeyRing(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if self, _ := ring[0].PrimarySelfSignature(); self.KeyLifetimeSecs == nil || int64(*self.KeyLifetimeSecs) != int64(until.Sub(k.Created).Seconds()) {
			t.Errorf("%s: go-crypto reads another expiry", k.Algorithm())
		}
		at := bytes.Index(raw, []byte{5, packet.SubExpires})
		for i := range 6 * 8 { // the subpacket: what it says is signed
			bad := bytes.Clone(raw)
			bad[at+i/8] ^= 1 << (i % 8)
			if _, err := Parse(bad); at < 0 || err == nil {
				t.Fatalf("%s: bit %d of the expiry changed, and it is accepted", k.Algorithm(), i)
			}
		}
		for _, never := range []time.Time{k.Created, k.Created.Add(-time.Hour), until.Add(time.Millisecond), k.Created.AddDate(140, 0, 0)} {
			if _, err := NewWithTerms(k.Key, "A", Terms{Expires: never}, k.Sign); err == nil {
				t.Errorf("expiry %s was taken", never)
			}
		}
	}
}

// TestCertificateFamily: the certificate of a key for in-toto's metadata says so, and what it says is signed; go-crypto
// reads it as one that is for signatures.
func TestCertificateFamily(t *testing.T) {
	for _, k := range tokens() {
		terms := Terms{Expires: k.Created.AddDate(2, 0, 0), Family: sigformat.FamilyInToto, Origin: sigtest.Origin}
		raw, err := NewWithTerms(k.Key, "Layouts <layouts@touchmark.example>", terms, k.Sign)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(raw)
		if err != nil || c.Family != sigformat.FamilyInToto || !c.Expires.Equal(terms.Expires) || !c.Fresh() || !bytes.Equal(c.Bytes(), raw) || c.Fits(sigformat.FamilyOpenPGP) == nil {
			t.Fatalf("%s: %+v, %v", k.Algorithm(), c, err)
		}
		if plain, err := Parse(k.certificate(t)); err != nil || plain.Family != sigformat.FamilyOpenPGP || plain.Fits(sigformat.FamilyInToto) == nil {
			t.Errorf("%s: %+v, %v", k.Algorithm(), plain, err)
		}
		ring, err := pgp.ReadKeyRing(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if self, _ := ring[0].PrimarySelfSignature(); len(self.Notations) != 1 || self.Notations[0].Name != "family@touchmark.example" || string(self.Notations[0].Value) != "in-toto" || !self.FlagSign {
			t.Errorf("%s: go-crypto reads %+v", k.Algorithm(), self.Notations)
		}
		at := bytes.Index(raw, []byte("family@"))
		for i := range (len("family@touchmark.examplein-toto") + 9) * 8 {
			bad := bytes.Clone(raw)
			bad[at-9+i/8] ^= 1 << (i % 8)
			if _, err := Parse(bad); err == nil {
				t.Fatalf("%s: bit %d of the family changed, and it is accepted", k.Algorithm(), i)
			}
		}
		for what, wrong := range map[string]Terms{"no log": {Family: sigformat.FamilyInToto}, "no host": {Family: sigformat.FamilyInToto, Origin: "/x"}, "SSH": {Family: sigformat.FamilySSH, Origin: sigtest.Origin}, "unknown": {Family: "x", Origin: sigtest.Origin}} {
			if _, err := NewWithTerms(k.Key, "A", wrong, k.Sign); err == nil {
				t.Errorf("%s was taken", what)
			}
		}
		for _, note := range [][]byte{openpgp.NotationOf("family@touchmark.example", "openpgp-data"), openpgp.NotationOf("other@touchmark.example", "in-toto"), openpgp.NotationOf("family@touchmark.example", ""), openpgp.NotationOf("family@", "in-toto"), {0}} {
			p, err := planSelf(k.Key, "A", time.Time{}, note)
			if err != nil {
				t.Fatal(err)
			}
			value, err := k.Sign(p.Signed())
			if err != nil {
				t.Fatal(err)
			}
			sig, err := p.Finish(value)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse((&Certificate{Key: k.Key, UserID: "A", selfs: sig}).Bytes()); err == nil {
				t.Errorf("a self-signature with the notation %q is accepted", note)
			}
		}
	}
}

func TestCertificateRefused(t *testing.T) {
	k := tokens()[0]
	for _, uid := range []string{"", " x", "x ", "a\nb", "a\x1b[2Jb", "a\u202eb", "\xff", strings.Repeat("a", MaxUserID+1)} {
		if _, err := New(k.Key, uid, k.Sign); err == nil {
			t.Errorf("user id %q accepted", uid)
		}
	}
	gone := errors.New("token removed")
	if _, err := New(k.Key, "A", func([]byte, crypto.Hash) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("the token's error is lost: %v", err)
	}
	other := func(digest []byte, h crypto.Hash) ([]byte, error) {
		return k.Sign(make([]byte, len(digest)), h)
	}
	if _, err := New(k.Key, "A", other); err == nil {
		t.Error("a signature of something else made a certificate")
	}
}

func FuzzParseCertificate(f *testing.F) {
	for _, k := range tokens() {
		f.Add(k.certificate(f))
		renewed, _ := k.renewed(f)
		f.Add(renewed.Bytes())
		f.Add(k.revoked(f, renewed, Compromised).Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Fatal("not in canonical form")
		}
	})
}
