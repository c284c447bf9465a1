package pivemu

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

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
	if pub, ok := k.public().(*ecdh.PublicKey); ok {
		return certifyX25519(template, issuer, pub, signer)
	}
	return x509.CreateCertificate(nil, template, issuer, k.public(), signer)
}

// Subject public key infos of RFC 8410 up to the 32 bytes of the key.
var (
	spkiEd25519 = []byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}
	spkiX25519  = []byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00}
)

// certifyX25519 issues a certificate that crypto/x509 refuses to issue: one for
// an Ed25519 key is made, the algorithm identifier (of the same length)
// exchanged, and the result signed again.
func certifyX25519(template, issuer *x509.Certificate, pub *ecdh.PublicKey, signer crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(nil, template, issuer, ed25519.PublicKey(pub.Bytes()), signer)
	if err != nil {
		return nil, err
	}
	var cert struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		return nil, err
	}
	tbs := bytes.Replace(cert.TBS.FullBytes, slices.Concat(spkiEd25519, pub.Bytes()), slices.Concat(spkiX25519, pub.Bytes()), 1)
	digest := sha256.Sum256(tbs)
	sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	cert.TBS = asn1.RawValue{FullBytes: tbs}
	cert.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	return asn1.Marshal(cert)
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
