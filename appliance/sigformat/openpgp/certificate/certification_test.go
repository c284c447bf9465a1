package certificate

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"

	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// certify has the token sign a certification.
func (t *token) certify(tb testing.TB, c *Certificate, x Certification) (*Certificate, []byte) {
	tb.Helper()
	p, err := c.Plan(x)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := t.Sign(p.Digest, p.Alg.Hash())
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		tb.Fatal(err)
	}
	next, err := c.With(x, sig)
	if err != nil {
		tb.Fatal(err)
	}
	return next, sig
}

func renewal(at, expires time.Time) Certification {
	return Certification{Created: at, Expires: expires, Origin: sigtest.Origin, Order: message.JobID{9, 8, 7}}
}

// renewed is a certificate that was given an expiry.
func (t *token) renewed(tb testing.TB) (*Certificate, []byte) {
	tb.Helper()
	c, err := Parse(t.certificate(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return t.certify(tb, c, renewal(sigtest.When, sigtest.When.AddDate(1, 0, 0)))
}

func (t *token) revoked(tb testing.TB, c *Certificate, code Reason) *Certificate {
	tb.Helper()
	next, _ := t.certify(tb, c, Certification{Created: sigtest.When.AddDate(0, 1, 0), Revoke: true, Code: code, Origin: sigtest.Origin, Order: message.JobID{1}})
	return next
}

func TestRenewal(t *testing.T) {
	for _, k := range tokens() {
		c, _ := k.renewed(t)
		c, _ = k.certify(t, c, renewal(sigtest.When.Add(time.Hour), time.Time{}))
		c, _ = k.certify(t, c, renewal(sigtest.When.Add(2*time.Hour), sigtest.When.AddDate(2, 0, 0)))
		again, err := Parse(c.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), c.Bytes()) || !again.Expires.Equal(sigtest.When.AddDate(2, 0, 0)) || again.Revoked {
			t.Errorf("parsed %+v", again)
		}
		ring := sigtest.Keyring(t, c.Bytes())
		self := ring[0].PrimaryIdentity().SelfSignature
		life := uint32(sigtest.When.AddDate(2, 0, 0).Sub(sigtest.Born) / time.Second)
		if self.KeyLifetimeSecs == nil || *self.KeyLifetimeSecs != life || !self.CreationTime.Equal(sigtest.When.Add(2*time.Hour)) {
			t.Errorf("go-crypto reads other facts: %+v", self)
		}
		if err := c.Usable(sigtest.When.AddDate(2, 0, 0).Add(-time.Second)); err != nil {
			t.Error(err)
		}
		if err := c.Usable(sigtest.When.AddDate(2, 0, 0)); !errors.Is(err, ErrExpired) {
			t.Errorf("at its expiry: %v", err)
		}
	}
}

func TestRevocation(t *testing.T) {
	for _, k := range tokens() {
		for code := NoReason; code <= Retired; code++ {
			before, _ := k.renewed(t)
			c := k.revoked(t, before, code)
			again, err := Parse(c.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !again.Revoked || again.Code != code || !bytes.Equal(again.Bytes(), c.Bytes()) {
				t.Errorf("parsed %+v", again)
			}
			ring, err := pgp.ReadKeyRing(bytes.NewReader(c.Bytes()))
			if err != nil || !ring[0].Revoked(sigtest.When.AddDate(1, 0, 0)) || byte(*ring[0].Revocations[0].RevocationReason) != byte(code) {
				t.Errorf("go-crypto does not see the revocation: %v", err)
			}
			if err := c.Usable(sigtest.When); !errors.Is(err, ErrRevoked) {
				t.Errorf("still usable: %v", err)
			}
			if _, err := c.Plan(renewal(sigtest.When.AddDate(1, 0, 0), time.Time{})); !errors.Is(err, ErrRevoked) {
				t.Errorf("renewed behind its revocation: %v", err)
			}
			if before.Revoked || before.Usable(sigtest.When) != nil {
				t.Error("the certificate before was changed")
			}
		}
	}
}

func TestCertificationRefused(t *testing.T) {
	k := tokens()[0]
	c, _ := k.renewed(t)
	later := sigtest.When.Add(time.Hour)
	for name, x := range map[string]Certification{
		"at the newest self-signature":     renewal(sigtest.When, time.Time{}),
		"before the newest self-signature": renewal(sigtest.When.Add(-time.Second), time.Time{}),
		"half a second":                    renewal(later.Add(time.Second/2), time.Time{}),
		"expires at once":                  renewal(later, later),
		"expires in half a second":         renewal(later, later.Add(time.Second/2)),
		"expires in a thousand years":      renewal(later, later.AddDate(200, 0, 0)),
		"renewal with a code":              {Created: later, Code: Retired, Origin: sigtest.Origin},
		"no origin":                        {Created: later},
		"unknown code":                     {Created: later, Revoke: true, Code: 4, Origin: sigtest.Origin},
		"revocation with an expiry":        {Created: later, Revoke: true, Expires: later.Add(time.Hour), Origin: sigtest.Origin},
		"revoked before it was made":       {Created: sigtest.Born.Add(-time.Second), Revoke: true, Origin: sigtest.Origin},
	} {
		if _, err := c.Plan(x); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	full := c
	for i := 1; ; i++ {
		x := renewal(sigtest.When.Add(time.Duration(i)*time.Hour), time.Time{})
		if _, err := full.Plan(x); err != nil {
			if i < 8 || !strings.Contains(err.Error(), "full") {
				t.Errorf("renewal %d: %v", i, err)
			}
			break
		}
		full, _ = k.certify(t, full, x)
	}
	if r := k.revoked(t, full, Compromised); !r.Revoked || len(r.Bytes()) > MaxBytes {
		t.Error("a full certificate cannot be revoked")
	}
}

// With takes the one signature that was planned.
func TestCertificationOfAnother(t *testing.T) {
	k := tokens()[0]
	base, err := Parse(k.certificate(t))
	if err != nil {
		t.Fatal(err)
	}
	x := renewal(sigtest.When, sigtest.When.AddDate(1, 0, 0))
	_, sig := k.certify(t, base, x)
	for name, lie := range map[string]func(*Certification){
		"time":       func(x *Certification) { x.Created = sigtest.When.Add(time.Second) },
		"expiry":     func(x *Certification) { x.Expires = sigtest.When.AddDate(2, 0, 0) },
		"never":      func(x *Certification) { x.Expires = time.Time{} },
		"origin":     func(x *Certification) { x.Origin = "other.example/log" },
		"order":      func(x *Certification) { x.Order[3] = 1 },
		"revocation": func(x *Certification) { x.Revoke, x.Expires = true, time.Time{} },
	} {
		y := x
		lie(&y)
		if _, err := base.With(y, sig); err == nil {
			t.Errorf("another %s: accepted", name)
		}
	}
	for i := range len(sig) * 8 {
		bad := bytes.Clone(sig)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := base.With(x, bad); err == nil {
			t.Fatalf("bit %d changed, and it is accepted", i)
		}
	}
	for _, bad := range [][]byte{nil, sig[:len(sig)-1], append(bytes.Clone(sig), 0), append(bytes.Clone(sig), sig...)} {
		if _, err := base.With(x, bad); err == nil {
			t.Errorf("%d bytes accepted", len(bad))
		}
	}
}

// Every byte of a certificate with a renewal and a revocation counts, one of
// its bits each time.
func TestExtendedCertificateEveryByte(t *testing.T) {
	for _, k := range tokens() {
		r, _ := k.renewed(t)
		cert := k.revoked(t, r, Superseded).Bytes()
		for _, i := range k.Bits(cert) {
			if i%5 != 0 {
				continue
			}
			bad := bytes.Clone(cert)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := Parse(bad); err == nil {
				t.Fatalf("%s: bit %d of byte %d changed, and it is accepted", k.Algorithm(), i%8, i/8)
			}
		}
		for _, i := range k.Bits(cert) {
			n := i / 8
			if i%8 != 0 {
				continue
			}
			if c, err := Parse(cert[:n]); err == nil && len(c.Bytes()) != n {
				t.Fatalf("cut to %d bytes, and it is accepted as %d", n, len(c.Bytes()))
			}
		}
	}
}

// A certification stands alone: with the key and the digest that was announced,
// and with nothing else.
func TestVerifyCertification(t *testing.T) {
	for _, k := range tokens() {
		t.Run(k.Algorithm(), func(t *testing.T) {
			c, err := Parse(k.certificate(t))
			if err != nil {
				t.Fatal(err)
			}
			x := renewal(sigtest.When, sigtest.When.AddDate(1, 0, 0))
			_, sig := k.certify(t, c, x)
			p, err := c.Plan(x)
			if err != nil {
				t.Fatal(err)
			}
			announced, ring := message.Digest{Alg: p.Alg, Sum: p.Digest}, Keyring{c}
			if err := ring.VerifyCertification(sig, announced); err != nil {
				t.Fatal(err)
			}
			for n := len(sig) - 32; n < len(sig); n++ { // the value's end, of each kind of key
				bad := bytes.Clone(sig)
				bad[n] ^= 1
				if ring.VerifyCertification(bad, announced) == nil {
					t.Errorf("byte %d does not matter", n)
				}
			}
			other := message.Digest{Alg: p.Alg, Sum: bytes.Clone(p.Digest)}
			other.Sum[len(other.Sum)-1] ^= 1
			if ring.VerifyCertification(sig, other) == nil {
				t.Error("another digest than the announced one is accepted")
			}
			data := k.signature(t, p.Alg, []byte("a file"))
			for name, s := range map[string][]byte{"of data": data, "with a byte behind": append(bytes.Clone(sig), 0), "nothing": nil} {
				if ring.VerifyCertification(s, announced) == nil {
					t.Errorf("a signature %s is accepted", name)
				}
			}
			if ring[:0].VerifyCertification(sig, announced) == nil {
				t.Error("a key that nobody knows is accepted")
			}
		})
	}
}
