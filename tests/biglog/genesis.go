package biglog

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

const policyText = `version = 1
origin = "touchmark.example/big"
serial = 1
previous = ""
max_skew = "10m"
max_validity = "24h"

[administrators]
quorum = 1
keys = ["@admin@"]

[[host]]
name = "repo1"
key = "@host@"

[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "p256"

[[class]]
name = "packages"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.pkg.tar.zst"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = ["200/1h", "2000/1d", "50000/30d"]
approvals = 0
batch = 16
`

const serial = 7654321

// genesis writes and commits entry 0, of an emulated token.
func (w *writer) genesis() {
	cert, err := certificate.New(w.key, "Big log <big@touchmark.example>", w.sign)
	w.fail(err)
	spki, err := x509.MarshalPKIXPublicKey(&w.token.PublicKey)
	w.fail(err)
	slot, device, err := w.attestation()
	w.fail(err)
	_, logKey, err := ed(Origin)
	w.fail(err)
	w.log, _, err = ed(Origin)
	w.fail(err)
	g := &ledger.Genesis{
		Origin: Origin, LogKey: logKey, AK: w.tpm.Public(), Head: w.tpm.HeadIndex, HeadName: w.tpm.HeadName(), PCR: w.tpm.PCRIndex,
		Keys: []ledger.TokenKey{{Name: "packages", Slot: "9c", Family: "openpgp-data", Algorithm: "p256", Fingerprint: w.key.Fingerprint(), SPKI: spki,
			Token: ledger.TokenInfo{Serial: serial, Firmware: "5.7.1", Emulated: true}, Attestation: ledger.TokenAttestation{Slot: slot, Intermediate: device}, Cert: cert}},
		Policy: w.policyNote,
	}
	g.Creation = w.tpm.Creation(ledger.OutsideInfo(Origin, g.Attestations(), g.Nonce))
	w.add(g)
	if w.err != nil {
		return
	}
	w.trust = anchor.TrustOf(w.pending[0], g)
	w.trust.Quorum, w.trust.Administrators = 1, []string{w.admin}
	w.commit()
	w.add(&ledger.Attest{Size: w.head, Certify: w.certify, Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))})
}

// attestation makes the token's certificates.
func (w *writer) attestation() (slot, device []byte, err error) {
	number, err := asn1.Marshal(serial)
	if err != nil {
		return nil, nil, err
	}
	ext := func(last int, v []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, last}, Value: v}
	}
	key := p256("device")
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Device"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: begin, NotAfter: begin.AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "YubiKey PIV Attestation 9c"}, NotBefore: begin, NotAfter: begin.AddDate(20, 0, 0),
		ExtraExtensions: []pkix.Extension{ext(3, []byte{5, 7, 1}), ext(7, number), ext(8, []byte{2, 2})}}
	if device, err = x509.CreateCertificate(nil, ca, ca, &key.PublicKey, key); err != nil {
		return nil, nil, err
	}
	parent, err := x509.ParseCertificate(device)
	if err != nil {
		return nil, nil, err
	}
	slot, err = x509.CreateCertificate(nil, leaf, parent, w.token.Public().(*ecdsa.PublicKey), key)
	return slot, device, err
}
