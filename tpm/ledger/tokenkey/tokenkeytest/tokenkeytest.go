// Package tokenkeytest makes keys of tokens with their records, for tests: the
// attestation is the emulated token's, and verifies.
package tokenkeytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strconv"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/tests/pivemu/attest"
	"touchmark/tests/pivemu/pivkey"
	"touchmark/tpm/ledger"
)

// Key is a P-256 key with its record.
type Key struct {
	Record  ledger.TokenKey
	Private *ecdsa.PrivateKey
}

// Spec is what differs from test to test; what is empty is the ordinary.
type Spec struct {
	Name, Slot, Family string // "spare", "9a", "openpgp-data"
	Serial             uint32 // 2
	Firmware           [3]byte
	Touch              pivkey.TouchPolicy
	Created            time.Time // 2026-01-02
	Private            *ecdsa.PrivateKey
}

func (s Spec) full() Spec {
	set := func(p *string, to string) {
		if *p == "" {
			*p = to
		}
	}
	set(&s.Name, "spare")
	set(&s.Slot, "9a")
	set(&s.Family, sigformat.FamilyOpenPGP)
	if s.Serial == 0 {
		s.Serial = 2
	}
	if s.Firmware == [3]byte{} {
		s.Firmware = [3]byte{5, 7, 1}
	}
	if s.Touch == 0 {
		s.Touch = pivkey.TouchAlways
	}
	if s.Created.IsZero() {
		s.Created = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	}
	return s
}

// New makes a key; what cannot be is a panic.
func New(s Spec) Key {
	s = s.full()
	if s.Private == nil {
		s.Private = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}
	pgp := must(signing.NewKey(s.Private.Public(), s.Created))
	cert := certificate.NewBare(pgp)
	if s.Family == sigformat.FamilyOpenPGP {
		cert = must(certificate.New(pgp, "Spare <spare@touchmark.example>", func(d []byte, h crypto.Hash) ([]byte, error) { return s.Private.Sign(rand.Reader, d, h) }))
	}
	f := s.Firmware
	return Key{Private: s.Private, Record: ledger.TokenKey{
		Name: s.Name, Slot: s.Slot, Family: s.Family, Algorithm: "p256", Fingerprint: pgp.Fingerprint(), SPKI: must(x509.MarshalPKIXPublicKey(s.Private.Public())),
		Token:       ledger.TokenInfo{Serial: s.Serial, Firmware: fmt.Sprintf("%d.%d.%d", f[0], f[1], f[2]), Emulated: true},
		Attestation: attestation(s), Cert: cert,
	}}
}

func attestation(s Spec) ledger.TokenAttestation {
	device := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	intermediate := must(attest.Device(device.Public(), s.Serial))
	slot := must(strconv.ParseUint(s.Slot, 16, 8))
	leaf := must(attest.Slot(attest.Facts{Slot: byte(slot), Public: s.Private.Public(), PIN: pivkey.PINOnce, Touch: s.Touch, Serial: s.Serial, Firmware: s.Firmware},
		must(x509.ParseCertificate(intermediate)), device))
	return ledger.TokenAttestation{Slot: leaf, Intermediate: intermediate}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
