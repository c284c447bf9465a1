package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// load reads a certificate of testdata: attestations made by real YubiKeys, as
// published in piv-go's tests (Apache 2.0).
func load(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return block.Bytes
}

// What the two real tokens say, read off the bytes of their extensions.
func TestRealTokens(t *testing.T) {
	for _, c := range []struct {
		token string
		want  Facts
	}{
		{"yubikey5", Facts{Serial: 15732500, Firmware: "5.4.3", FormFactor: 4, Slot: "9a", PIN: PINOnce, Touch: TouchNever}},
		{"yubikey4", Facts{Firmware: "4.3.7", Slot: "9a", PIN: PINOnce, Touch: TouchNever}},
	} {
		got, err := Verify(load(t, c.token+"-slot"), load(t, c.token+"-device"), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.token, err)
		}
		pub, ok := got.Public.(*ecdsa.PublicKey)
		if !ok || pub.Curve != elliptic.P256() {
			t.Errorf("%s: public key %T", c.token, got.Public)
		}
		got.Public = nil
		if got != c.want {
			t.Errorf("%s: %+v", c.token, got)
		}
		if got.TouchAlways() || !got.PINOnce() {
			t.Errorf("%s: policy misread", c.token)
		}
		if !Genuine(load(t, c.token+"-device"), nil) {
			t.Errorf("%s: device certificate not genuine", c.token)
		}
	}
}

// One token's key under another token's certificate.
func TestMixedTokens(t *testing.T) {
	for _, c := range [][2]string{
		{"yubikey5-slot", "yubikey4-device"},
		{"yubikey4-slot", "yubikey5-device"},
		{"yubikey5-slot", "yubikey5-slot"},
		{"yubikey5-device", "yubikey5-device"},
	} {
		if f, err := Verify(load(t, c[0]), load(t, c[1]), nil); err == nil {
			t.Errorf("%v: %+v", c, f)
		}
	}
}

// A device certificate signed by Yubico is no attestation, though the chain is
// fine.
func TestDeviceCertificateIsNoAttestation(t *testing.T) {
	root := yubico().roots[0]
	f, err := Verify(load(t, "yubikey5-device"), root.Raw, nil)
	if err == nil {
		t.Errorf("%+v", f)
	}
}

// Any flipped bit must be noticed, or leave the facts as they are (a few bits
// are not covered: the outer algorithm's encoding).
func TestEveryBitCounts(t *testing.T) {
	slot, device := load(t, "yubikey5-slot"), load(t, "yubikey5-device")
	good, err := Verify(slot, device, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(slot) {
		bad := bytes.Clone(slot)
		bad[i/8] ^= 1 << (i % 8)
		if f, err := Verify(bad, device, nil); err == nil && !same(f, good) {
			t.Fatalf("bit %d of the attestation: %+v", i, f)
		}
	}
	for i := range 8 * len(device) {
		bad := bytes.Clone(device)
		bad[i/8] ^= 1 << (i % 8)
		if f, err := Verify(slot, bad, nil); err == nil && !f.Emulated && !same(f, good) {
			t.Fatalf("bit %d of the device certificate: %+v", i, f)
		}
	}
}

func same(a, b Facts) bool {
	eq := a.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public)
	a.Public, b.Public = nil, nil
	return eq && a == b
}

// maker makes attestations of its own.
type maker struct {
	t            *testing.T
	rootKey, key *ecdsa.PrivateKey
	root         *x509.Certificate
	device       []byte
}

func newMaker(t *testing.T) *maker {
	m := &maker{t: t, rootKey: newKey(t), key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root"},
		NotBefore: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	m.root = m.parse(m.sign(tmpl, tmpl, &m.rootKey.PublicKey, m.rootKey))
	dev := *tmpl
	dev.Subject.CommonName = "Device"
	dev.NotBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	m.device = m.sign(&dev, m.root, &m.key.PublicKey, m.rootKey)
	return m
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (m *maker) sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) []byte {
	m.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		m.t.Fatal(err)
	}
	return der
}

func (m *maker) parse(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// slot makes an attestation with the given subject and extensions.
func (m *maker) slot(subject string, ext ...pkix.Extension) []byte {
	return m.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: subject}, ExtraExtensions: ext,
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC),
	}, m.parse(m.device), &newKey(m.t).PublicKey, m.key)
}

func ext(id asn1.ObjectIdentifier, v ...byte) pkix.Extension { return pkix.Extension{Id: id, Value: v} }

func TestFields(t *testing.T) {
	m := newMaker(t)
	const cn = "YubiKey PIV Attestation 9c"
	fw, policy := ext(oidFirmware, 5, 7, 1), ext(oidPolicy, 2, 2)
	for _, c := range []struct {
		name, cn string
		ext      []pkix.Extension
		wrong    string // part of the error, "" if good
	}{
		{"least", cn, []pkix.Extension{fw, policy}, ""},
		{"all", cn, []pkix.Extension{fw, policy, ext(oidSerial, 2, 4, 0x7f, 0xff, 0xff, 0xff), ext(oidFormFactor, 1)}, ""},
		{"unknown extension", cn, []pkix.Extension{fw, policy, ext(asn1.ObjectIdentifier{1, 2, 3}, 9)}, ""},
		{"no subject", "", []pkix.Extension{fw, policy}, "no slot"},
		{"slot in capitals", "YubiKey PIV Attestation 9C", []pkix.Extension{fw, policy}, "no slot"},
		{"slot of three digits", cn + "0", []pkix.Extension{fw, policy}, "no slot"},
		{"no policy", cn, []pkix.Extension{fw}, "without"},
		{"no firmware", cn, []pkix.Extension{policy}, "without"},
		{"short firmware", cn, []pkix.Extension{ext(oidFirmware, 5, 7), policy}, "firmware"},
		{"policy 0", cn, []pkix.Extension{fw, ext(oidPolicy, 0, 2)}, "policy"},
		{"PIN policy 6", cn, []pkix.Extension{fw, ext(oidPolicy, 6, 2)}, "policy"},
		{"touch policy 4", cn, []pkix.Extension{fw, ext(oidPolicy, 2, 4)}, "policy"},
		{"policy of 3 bytes", cn, []pkix.Extension{fw, ext(oidPolicy, 2, 2, 2)}, "policy"},
		{"negative serial", cn, []pkix.Extension{fw, policy, ext(oidSerial, 2, 1, 0xff)}, "serial"},
		{"serial of 33 bits", cn, []pkix.Extension{fw, policy, ext(oidSerial, 2, 5, 1, 0, 0, 0, 0)}, "serial"},
		{"serial with trailing data", cn, []pkix.Extension{fw, policy, ext(oidSerial, 2, 1, 1, 0)}, "serial"},
		{"form factor of 2 bytes", cn, []pkix.Extension{fw, policy, ext(oidFormFactor, 1, 1)}, "form factor"},
	} {
		f, err := Verify(m.slot(c.cn, c.ext...), m.device, NewRoots(m.root))
		switch {
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: %v", c.name, err)
		case c.wrong == "" && (err != nil || f.Emulated || f.Slot != "9c" || !f.TouchAlways() || !f.PINOnce()):
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
	}
}

func TestRootsDecide(t *testing.T) {
	m, other := newMaker(t), newMaker(t)
	slot := m.slot("YubiKey PIV Attestation 9c", ext(oidFirmware, 5, 7, 1), ext(oidPolicy, 2, 2))
	for name, c := range map[string]struct {
		roots    *Roots
		emulated bool
	}{
		"its own":   {NewRoots(m.root), false},
		"another's": {NewRoots(other.root), true}, // of the same name
		"none":      {NewRoots(), true},
		"Yubico's":  {nil, true},
	} {
		f, err := Verify(slot, m.device, c.roots)
		if err != nil || f.Emulated != c.emulated {
			t.Errorf("%s: emulated %v, %v", name, f.Emulated, err)
		}
		if Genuine(m.device, c.roots) == c.emulated {
			t.Errorf("%s: Genuine disagrees", name)
		}
	}
	real := load(t, "yubikey5-slot")
	if f, err := Verify(real, load(t, "yubikey5-device"), NewRoots(m.root)); err != nil || !f.Emulated {
		t.Errorf("a real token under another root: %+v, %v", f, err)
	}
}

func TestBounds(t *testing.T) {
	slot, device := load(t, "yubikey5-slot"), load(t, "yubikey5-device")
	for name, c := range map[string][2][]byte{
		"empty":         {nil, nil},
		"no device":     {slot, nil},
		"trailing byte": {append(bytes.Clone(slot), 0), device},
		"too long":      {make([]byte, maxCertificate+1), device},
	} {
		if f, err := Verify(c[0], c[1], nil); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// The embedded certificates are, byte for byte, those piv-go ships, whose
// content go.sum pins; and they form the chains they should.
func TestEmbeddedCertificates(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/go-piv/piv-go/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	var shipped [][]byte
	for _, name := range []string{"yubico-ca-certs.txt", "yubico-intermediate.pem"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "piv", "certs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range certificates(text) {
			shipped = append(shipped, c.Raw)
		}
	}
	if len(yubico().roots) != 3 || len(yubico().intermediates) != 4 {
		t.Fatalf("%d roots, %d intermediates", len(yubico().roots), len(yubico().intermediates))
	}
	for _, c := range append(yubico().intermediates[:4:4], yubico().roots...) {
		found := false
		for _, s := range shipped {
			found = found || bytes.Equal(s, c.Raw)
		}
		if !found {
			t.Errorf("%s (%s…) is not what piv-go ships", c.Subject, hex.EncodeToString(c.Raw[:8]))
		}
	}
	for _, c := range yubico().intermediates {
		if !Genuine(c.Raw, nil) {
			t.Errorf("%s does not chain to a root", c.Subject)
		}
	}
}

// FuzzVerify: nothing panics, and without the token's key nothing new verifies.
func FuzzVerify(f *testing.F) {
	slot, device := load(f, "yubikey5-slot"), load(f, "yubikey5-device")
	good, err := Verify(slot, device, nil)
	if err != nil {
		f.Fatal(err)
	}
	older, err := Verify(load(f, "yubikey4-slot"), load(f, "yubikey4-device"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, slot, device []byte) {
		got, err := Verify(slot, device, nil)
		if err == nil && !got.Emulated && !same(got, good) && !same(got, older) {
			t.Fatalf("forged: %+v", got)
		}
	})
}

func TestEUCLEAK(t *testing.T) {
	ec, rsaKey, ed := &ecdsa.PublicKey{}, &rsa.PublicKey{}, ed25519.PublicKey{}
	for _, c := range []struct {
		key      crypto.PublicKey
		firmware string
		want     bool
	}{
		{ec, "5.4.3", true}, {ec, "5.6.9", true}, {ec, "4.3.7", true}, {ec, "nonsense", true}, {ec, "", true},
		{ec, "5.7.0", false}, {ec, "5.7.1", false}, {ec, "6.0.0", false}, {ec, "10.2.0", false},
		{rsaKey, "5.4.3", false}, {ed, "5.4.3", false},
	} {
		if got := (Facts{Public: c.key, Firmware: c.firmware}).EUCLEAK(); got != c.want {
			t.Errorf("%T on firmware %q: %v", c.key, c.firmware, got)
		}
	}
}
