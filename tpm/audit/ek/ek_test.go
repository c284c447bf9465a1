package ek

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// authority is one certificate authority of a maker.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t testing.TB, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(20, 0, 0),
	}
	by := parent
	if by == nil {
		by = &authority{cert: template, key: a.key}
	}
	a.cert = sign(t, template, by, a.key.Public())
	return a
}

func sign(t testing.TB, template *x509.Certificate, by *authority, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, pub, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// altName names a TPM as the profile wants it.
func altName(t testing.TB, maker string) pkix.Extension {
	t.Helper()
	rdn := func(oid asn1.ObjectIdentifier, v string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}}
	}
	directory, err := asn1.Marshal(pkix.RDNSequence{rdn(oidManufacturer, maker), rdn(oidModel, "SLB\x1b9670"), rdn(oidVersion, "id:0001")})
	if err != nil {
		t.Fatal(err)
	}
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: directory}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidAltName, Critical: true, Value: names}
}

func template(t testing.TB) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageKeyAgreement, BasicConstraintsValid: true,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidPurpose}, ExtraExtensions: []pkix.Extension{altName(t, "id:49465800")},
	}
}

func TestVerify(t *testing.T) {
	root := newAuthority(t, "maker root", nil)
	step := newAuthority(t, "maker step", root)
	other := newAuthority(t, "maker root", nil)
	sub := newAuthority(t, "no maker", nil)
	pub := newKey(t).Public()
	good := sign(t, template(t), step, pub).Raw
	changed := func(f func(*x509.Certificate)) []byte {
		c := template(t)
		f(c)
		return sign(t, c, step, pub).Raw
	}
	for name, tt := range map[string]struct {
		roots []*authority
		der   []byte
		at    time.Time
		want  string
	}{
		"good":          {[]*authority{root, step}, good, noon, ""},
		"wrong root":    {[]*authority{other, step}, good, noon, "unknown authority"},
		"no step":       {[]*authority{root}, good, noon, "unknown authority"},
		"step only":     {[]*authority{step}, good, noon, "unknown authority"},
		"other maker":   {[]*authority{sub}, good, noon, "unknown authority"},
		"no roots":      {nil, good, noon, "no roots"},
		"expired":       {[]*authority{root, step}, good, noon.AddDate(6, 0, 0), "expired"},
		"not yet":       {[]*authority{root, step}, good, noon.AddDate(-2, 0, 0), "not yet valid"},
		"other purpose": {[]*authority{root, step}, changed(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), noon, "purpose"},
		"no name":       {[]*authority{root, step}, changed(func(c *x509.Certificate) { c.ExtraExtensions = nil }), noon, "name"},
		"no maker":      {[]*authority{root, step}, changed(func(c *x509.Certificate) { c.ExtraExtensions[0] = altName(t, "") }), noon, "maker"},
		"an authority":  {[]*authority{root, step}, changed(func(c *x509.Certificate) { c.IsCA = true }), noon, "authority's"},
		"unknown critical": {[]*authority{root, step}, changed(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), noon, "critical"},
		"cut short": {[]*authority{root, step}, good[:len(good)-1], noon, "certificate"},
		"too long":  {[]*authority{root, step}, make([]byte, MaxCertificate+1), noon, "at most"},
	} {
		roots := &Roots{}
		for _, a := range tt.roots {
			if err := roots.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})); err != nil {
				t.Fatal(err)
			}
		}
		f, err := roots.Verify(tt.der, tt.at)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.Manufacturer != "id:49465800" || f.Model != "SLB?9670" || f.Version != "id:0001" || f.Root != "CN=maker root" || f.Issuer != "CN=maker step" {
			t.Errorf("%+v", f)
		}
	}
}

// Every bit of the certificate is under the maker's signature.
func TestEveryBitCounts(t *testing.T) {
	root := newAuthority(t, "maker root", nil)
	der := sign(t, template(t), root, newKey(t).Public()).Raw
	roots := &Roots{}
	if err := roots.Add(root.cert.Raw); err != nil {
		t.Fatal(err)
	}
	for i := range der {
		flipped := append([]byte(nil), der...)
		flipped[i] ^= 1
		if _, err := roots.Verify(flipped, noon); err == nil {
			t.Errorf("byte %d changed: still good", i)
		}
	}
}

func TestRootsRefuse(t *testing.T) {
	root := newAuthority(t, "maker root", nil)
	leaf := sign(t, template(t), root, newKey(t).Public())
	for name, file := range map[string][]byte{
		"nothing":         nil,
		"words":           []byte("these are no certificates"),
		"a private key":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}),
		"no authority":    leaf.Raw,
		"too much":        make([]byte, MaxRootsFile+1),
		"broken PEM body": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw[:20]}),
	} {
		if err := (&Roots{}).Add(file); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	root := newAuthority(f, "maker root", nil)
	f.Add(sign(f, template(f), root, newKey(f).Public()).Raw)
	roots := &Roots{}
	if err := roots.Add(root.cert.Raw); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		facts, err := roots.Verify(der, noon)
		if err == nil && (facts.Root != "CN=maker root" || facts.Manufacturer == "") {
			t.Errorf("%+v", facts)
		}
	})
}
