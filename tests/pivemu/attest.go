package pivemu

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"touchmark/tests/pivemu/iso7816"
)

// Yubico's attestation extensions
// (developers.yubico.com/PIV/Introduction/PIV_attestation.html). Their values
// are bare bytes, except the serial number, which is a DER INTEGER.
var (
	oidFirmware   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 3}
	oidSerial     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 7}
	oidPolicy     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 8}
	oidFormFactor = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 9}
)

// issueAttestationCert issues the certificate of a token's attestation key.
func issueAttestationCert(k *slotKey, serial uint32) ([]byte, error) {
	r, err := root()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          certSerial(),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("Touchmark emulated PIV attestation %d", serial)},
		NotBefore:             certFrom,
		NotAfter:              certUntil,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return x509.CreateCertificate(nil, template, r.cert, k.public(), r.key)
}

// certSerial is a random positive serial number.
func certSerial() *big.Int {
	b := random(16)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// attest is Yubico's ATTEST: a certificate for a key generated in the token,
// signed by the attestation key. An imported key, or none, has no attestation.
func (c *Card) attest(cmd iso7816.Command) ([]byte, iso7816.SW) {
	s := slot(cmd.P1)
	if cmd.P2 != 0 || !s.valid() || s == slotAttestation {
		return nil, iso7816.WrongP1P2
	}
	k := c.state.Keys[s]
	if k == nil || k.Origin != originGenerated {
		return nil, iso7816.WrongData
	}
	der, err := c.attestationOf(s, k)
	if err != nil {
		c.log.note("cannot attest: " + err.Error())
		return nil, iso7816.ConditionsNotMet
	}
	return der, iso7816.OK
}

func (c *Card) attestationOf(s slot, k *slotKey) ([]byte, error) {
	issuer, err := c.attestationCert()
	if err != nil {
		return nil, err
	}
	key := c.state.Keys[slotAttestation]
	if key == nil {
		return nil, errors.New("there is no attestation key")
	}
	signer, ok := key.key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the attestation key cannot sign")
	}
	serial, err := asn1.Marshal(int64(c.state.Serial))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: certSerial(),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("YubiKey PIV Attestation %02x", byte(s))},
		NotBefore:    issuer.NotBefore,
		NotAfter:     issuer.NotAfter,
		ExtraExtensions: []pkix.Extension{
			{Id: oidFirmware, Value: c.profile.version[:]},
			{Id: oidSerial, Value: serial},
			{Id: oidPolicy, Value: []byte{byte(k.PIN), byte(k.Touch)}},
			{Id: oidFormFactor, Value: []byte{formFactor}},
		},
	}
	return x509.CreateCertificate(nil, template, issuer, k.public(), signer)
}

// attestationCert is the certificate in the object 5fff01.
func (c *Card) attestationCert() (*x509.Certificate, error) {
	o, err := iso7816.ParseTLV(c.state.Objects[objAttestation])
	if err != nil {
		return nil, err
	}
	der, ok := o.Find(0x70)
	if !ok {
		return nil, errors.New("there is no attestation certificate")
	}
	return x509.ParseCertificate(der)
}
