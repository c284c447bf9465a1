package pivemu

import (
	"crypto"
	"crypto/x509"
	"errors"

	"touchmark/tests/pivemu/attest"
	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

// Root is the certificate that every emulated token's attestation chains to.
func Root() (*x509.Certificate, error) { return attest.Root() }

// RootPEM is [Root] in PEM.
func RootPEM() ([]byte, error) { return attest.RootPEM() }

// attest is Yubico's ATTEST: a certificate for a key generated in the token,
// signed by the attestation key. An imported key, or none, has no attestation.
func (c *Card) attest(cmd iso7816.Command) ([]byte, iso7816.SW) {
	s := slot(cmd.P1)
	if cmd.P2 != 0 || !s.valid() || s == slotAttestation {
		return nil, iso7816.WrongP1P2
	}
	k := c.state.Keys[s]
	if k == nil || k.Origin != pivkey.Generated {
		return nil, iso7816.WrongData
	}
	der, err := c.attestationOf(s, k)
	if err != nil {
		c.log.note("cannot attest: " + err.Error())
		return nil, iso7816.ConditionsNotMet
	}
	return der, iso7816.OK
}

func (c *Card) attestationOf(s slot, k *pivkey.Key) ([]byte, error) {
	issuer, err := c.attestationCert()
	if err != nil {
		return nil, err
	}
	key := c.state.Keys[slotAttestation]
	if key == nil {
		return nil, errors.New("there is no attestation key")
	}
	signer, ok := key.Private.(crypto.Signer)
	if !ok {
		return nil, errors.New("the attestation key cannot sign")
	}
	return attest.Slot(attest.Facts{
		Slot: byte(s), Public: k.Public(), PIN: k.PIN, Touch: k.Touch,
		Serial: c.state.Serial, Firmware: c.profile.version, FormFactor: formFactor,
	}, issuer, signer)
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
