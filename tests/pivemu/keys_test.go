package pivemu

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
	"time"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

var digest = sha256.Sum256([]byte("a message"))

// pkcs1 is the block that a host signs with RSA: PKCS #1 v1.5 over SHA-256.
func pkcs1(size int) []byte {
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	b := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-3-len(prefix)-len(digest))...)
	return append(append(append(b, 0), prefix...), digest[:]...)
}

// works uses the key in 9c in every way it has.
func (h *host) works(alg pivkey.Alg, pub crypto.PublicKey) {
	h.Helper()
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		sig, sw := h.sign(slotSignature, alg, pkcs1(pub.Size()))
		if sw != iso7816.OK || rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) != nil {
			h.Fatalf("RSA signature: %04x", uint16(sw))
		}
	case ed25519.PublicKey:
		sig, sw := h.sign(slotSignature, alg, digest[:])
		if sw != iso7816.OK || !ed25519.Verify(pub, digest[:], sig) {
			h.Fatalf("Ed25519 signature: %04x", uint16(sw))
		}
	case *ecdsa.PublicKey:
		sig, sw := h.sign(slotSignature, alg, digest[:])
		if sw != iso7816.OK || !ecdsa.VerifyASN1(pub, digest[:], sig) {
			h.Fatalf("ECDSA signature: %04x", uint16(sw))
		}
		own, err := pub.ECDH()
		if err != nil {
			h.Fatal(err)
		}
		h.agrees(alg, own)
	case *ecdh.PublicKey:
		h.agrees(alg, pub)
	}
}

func (h *host) agrees(alg pivkey.Alg, own *ecdh.PublicKey) {
	h.Helper()
	peer, err := own.Curve().GenerateKey(rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	want, err := peer.ECDH(own)
	if err != nil {
		h.Fatal(err)
	}
	out := h.ok(insAuthenticate, byte(alg), byte(slotSignature), useData(tagExponent, peer.PublicKey().Bytes()))
	if !bytes.Equal(h.inner(out, tagDynamic, tagResponse), want) {
		h.Fatal("the shared secrets differ")
	}
}

// TestGeneratedKeys: for every algorithm of every firmware the key works, its
// metadata and its attestation name it, and it survives the state file.
func TestGeneratedKeys(t *testing.T) {
	for profile, algs := range map[string][]pivkey.Alg{
		"5.4.3": {pivkey.RSA1024, pivkey.RSA2048, pivkey.P256, pivkey.P384},
		"5.7.1": {pivkey.RSA3072, pivkey.P256, pivkey.P384, pivkey.Ed25519, pivkey.X25519},
	} {
		path := t.TempDir() + "/token.json"
		for _, alg := range algs {
			t.Run(fmt.Sprintf("%s %02x", profile, byte(alg)), func(t *testing.T) {
				h := newCard(t, Config{Profile: profile, StatePath: path})
				h.manageDefault()
				pub := h.generate(slotSignature, alg, pivkey.PINNever, pivkey.TouchNone)
				h.works(alg, pub)
				h.isAttested(pub, pivkey.PINNever, pivkey.TouchNone)
				again := newCard(t, Config{Profile: profile, StatePath: path})
				meta := again.ok(insMetadata, 0, byte(slotSignature), nil)
				got := again.public(alg, again.inner(meta, metaPublic))
				if !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
					t.Error("another key after a restart")
				}
				again.works(alg, pub)
			})
		}
	}
}

// isAttested checks the attestation of 9c the way an auditor does.
func (h *host) isAttested(pub crypto.PublicKey, pin pivkey.PINPolicy, touch pivkey.TouchPolicy) {
	h.Helper()
	cert := h.parse(h.ok(insAttest, byte(slotSignature), 0, nil))
	object := h.ok(insGetData, 0x3f, 0xff, iso7816.TLV(tagList, []byte{0x5f, 0xff, 0x01}))
	issuer := h.parse(h.inner(object, tagData, 0x70))
	root, err := Root()
	if err != nil {
		h.Fatal(err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	intermediates.AddCert(issuer)
	o := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := cert.Verify(o); err != nil {
		h.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil || !bytes.Equal(cert.RawSubjectPublicKeyInfo, spki) {
		h.Fatal("the attestation is for another key", err)
	}
	if cert.Subject.CommonName != "YubiKey PIV Attestation 9c" {
		h.Error(cert.Subject)
	}
	v := h.card.profile.version
	for oid, want := range map[string][]byte{
		"1.3.6.1.4.1.41482.3.3": v[:],
		"1.3.6.1.4.1.41482.3.7": {2, 4, 0, 0xbc, 0x61, 0x4e},
		"1.3.6.1.4.1.41482.3.8": {byte(pin), byte(touch)},
		"1.3.6.1.4.1.41482.3.9": {1},
	} {
		if got := extension(cert, oid); !bytes.Equal(got, want) {
			h.Errorf("extension %s is %x, want %x", oid, got, want)
		}
	}
}

func (h *host) parse(der []byte) *x509.Certificate {
	h.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		h.Fatal(err)
	}
	return cert
}

func extension(cert *x509.Certificate, oid string) []byte {
	for _, e := range cert.Extensions {
		if e.Id.String() == oid {
			return e.Value
		}
	}
	return nil
}

// TestRootNeverChanges: the golden root of 2026-11-21. Auditors pin it.
func TestRootNeverChanges(t *testing.T) {
	golden, err := os.ReadFile("testdata/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	now, err := RootPEM()
	if err != nil || !bytes.Equal(now, golden) {
		t.Fatalf("the root is %s, %v", now, err)
	}
	block, _ := pem.Decode(golden)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.Subject.CommonName != "Touchmark emulated PIV root" || !cert.IsCA {
		t.Error(cert, err)
	}
}

func TestReplacedAttestationKey(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	id := iso7816.TLV(tagList, []byte{0x5f, 0xff, 0x01})
	h.ok(insPutData, 0x3f, 0xff, append(id, iso7816.TLV(tagData)...))
	h.refused(iso7816.ConditionsNotMet, insAttest, byte(slotSignature), 0, nil)
}

// importData is the data of IMPORT for a key made elsewhere.
func importData(t *testing.T, alg pivkey.Alg) ([]byte, crypto.PublicKey) {
	t.Helper()
	var data []byte
	if bits := alg.RSABits(); bits != 0 {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range k.Primes {
			data = append(data, iso7816.TLV(uint32(1+i), p.Bytes())...)
		}
		return data, &k.PublicKey
	}
	switch alg {
	case pivkey.Ed25519:
		pub, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return iso7816.TLV(7, k.Seed()), pub
	case pivkey.X25519:
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return iso7816.TLV(8, k.Bytes()), k.PublicKey()
	}
	k, err := ecdsa.GenerateKey(alg.Curve(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return iso7816.TLV(6, d), &k.PublicKey
}

func TestImportedKeys(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	for _, alg := range []pivkey.Alg{pivkey.RSA1024, pivkey.RSA2048, pivkey.P256, pivkey.P384, pivkey.Ed25519, pivkey.X25519} {
		t.Run(fmt.Sprintf("%02x", byte(alg)), func(t *testing.T) {
			data, pub := importData(t, alg)
			h := &host{t, h.card}
			h.ok(insImport, byte(alg), byte(slotSignature), append(data, tagPINPolicy, 1, byte(pivkey.PINNever)))
			h.works(alg, pub)
			meta := h.ok(insMetadata, 0, byte(slotSignature), nil)
			if o := h.inner(meta, metaOrigin); !bytes.Equal(o, []byte{byte(pivkey.Imported)}) {
				t.Errorf("origin %x", o)
			}
			h.refused(iso7816.WrongData, insAttest, byte(slotSignature), 0, nil)
			h.refused(iso7816.WrongData, insImport, byte(alg), byte(slotSignature), data[:len(data)-1])
			h.refused(iso7816.WrongData, insImport, byte(alg), byte(slotSignature), append(data, tagTouchPolicy, 1, 4))
			h.works(alg, pub) // a refused import changes nothing
		})
	}
	zero := iso7816.TLV(6, make([]byte, 32))
	h.refused(iso7816.WrongData, insImport, byte(pivkey.P256), byte(slotSignature), zero)
	same := bytes.Repeat([]byte{0xff}, 128)
	h.refused(iso7816.WrongData, insImport, byte(pivkey.RSA2048), byte(slotSignature), append(iso7816.TLV(1, same), iso7816.TLV(2, same)...))
}

// TestRefusedTemplates: what GENERATE and GENERAL AUTHENTICATE do not take.
func TestRefusedTemplates(t *testing.T) {
	old := newCard(t, Config{Profile: "5.4.3"})
	old.manageDefault()
	for _, alg := range []pivkey.Alg{pivkey.RSA3072, pivkey.RSA4096, pivkey.Ed25519, pivkey.X25519, 0x99} {
		old.refused(iso7816.WrongData, insGenerate, 0, 0x9c, iso7816.TLV(tagTemplate, iso7816.TLV(tagAlgorithm, []byte{byte(alg)})))
	}
	for _, template := range []string{"", "\xac", "\xac\x00", "\xac\x03\x80\x02\x11", "\xac\x04\x80\x02\x11\x11",
		"\xac\x06\x80\x01\x11\xaa\x01\x04", "\xac\x07\x80\x01\x11\xab\x02\x01\x01", "\x80\x01\x11"} {
		old.refused(iso7816.WrongData, insGenerate, 0, 0x9c, []byte(template))
	}
	old.refused(iso7816.WrongP1P2, insGenerate, 0, 0x9b, []byte("\xac\x03\x80\x01\x11"))
	old.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	for name, data := range map[string][]byte{
		"digest too long":    useData(tagChallenge, make([]byte, 33)),
		"empty digest":       useData(tagChallenge, nil),
		"no template":        iso7816.TLV(tagChallenge, digest[:]),
		"no response object": iso7816.TLV(tagDynamic, iso7816.TLV(tagChallenge, digest[:])),
		"nothing to do":      iso7816.TLV(tagDynamic, iso7816.TLV(tagResponse)),
		"point off curve":    useData(tagExponent, append([]byte{4}, make([]byte, 64)...)),
		"point at infinity":  useData(tagExponent, []byte{0}),
	} {
		if _, sw := old.do(insAuthenticate, byte(pivkey.P256), 0x9c, data); sw != iso7816.WrongData {
			t.Errorf("%s: %04x", name, uint16(sw))
		}
	}
	old.refused(iso7816.WrongData, insAuthenticate, byte(pivkey.P384), 0x9c, useData(tagChallenge, digest[:]))
	old.refused(iso7816.WrongP1P2, insAuthenticate, byte(pivkey.RSA2048), byte(slotAttestation), useData(tagChallenge, make([]byte, 256)))
}

func TestMoveAndDelete(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	pub := h.generate(0x9a, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	h.ok(insMoveKey, byte(slotSignature), 0x9a, nil)
	h.refused(iso7816.ReferenceNotFound, insMetadata, 0, 0x9a, nil)
	h.works(pivkey.P256, pub)
	h.isAttested(pub, pivkey.PINNever, pivkey.TouchNone)
	h.refused(iso7816.ReferenceNotFound, insMoveKey, 0x82, 0x9a, nil)
	h.generate(0x9a, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	h.refused(iso7816.WrongData, insMoveKey, byte(slotSignature), 0x9a, nil)
	h.refused(iso7816.WrongP1P2, insMoveKey, 0x82, byte(slotAttestation), nil)
	h.refused(iso7816.WrongP1P2, insMoveKey, byte(slotAttestation), 0x9a, nil)
	h.ok(insMoveKey, deleteTarget, byte(slotSignature), nil)
	h.refused(iso7816.ReferenceNotFound, insMetadata, 0, byte(slotSignature), nil)
	h.ok(insMoveKey, deleteTarget, byte(slotAttestation), nil)
	h.refused(iso7816.ConditionsNotMet, insAttest, 0x9a, 0, nil)
}

// TestSerialAsInteger: a serial number whose top bit is set must not become
// negative in the attestation.
func TestSerialAsInteger(t *testing.T) {
	h := newCard(t, Config{Serial: 0xfffffffe})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	cert := h.parse(h.ok(insAttest, byte(slotSignature), 0, nil))
	var serial int64
	if _, err := asn1.Unmarshal(extension(cert, "1.3.6.1.4.1.41482.3.7"), &serial); err != nil || serial != 0xfffffffe {
		t.Errorf("%d, %v", serial, err)
	}
}

// TestSignIsFast holds the emulator to its promise that it does not weigh on
// benchmarks: a P-256 signature well under a millisecond, or, on a slow machine, in
// not much more time than the bare one takes. The best of many, so that a busy machine
// does not matter.
func TestSignIsFast(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchAlways)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	best, bare := time.Hour, time.Hour
	for range 200 {
		start := time.Now()
		h.expectSign(iso7816.OK)
		best = min(best, time.Since(start))
		start = time.Now()
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			t.Fatal(err)
		}
		bare = min(bare, time.Since(start))
	}
	if best > max(time.Millisecond, 4*bare) {
		t.Errorf("the fastest of 200 signatures took %v, a bare one %v", best, bare)
	}
}

func BenchmarkSignP256(b *testing.B) {
	h := newCard(b, Config{})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchAlways)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("token", func(b *testing.B) {
		for b.Loop() {
			h.expectSign(iso7816.OK)
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
