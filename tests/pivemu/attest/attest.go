package attest

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
	"fmt"
	"math/big"
	"slices"

	"touchmark/tests/pivemu/pivkey"
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

// Device issues the certificate of a token's attestation key.
func Device(pub crypto.PublicKey, serial uint32) ([]byte, error) {
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
	return x509.CreateCertificate(nil, template, r.cert, pub, r.key)
}

// certSerial is a random positive serial number.
func certSerial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails since Go 1.24
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// Facts are what an attestation says about a key.
type Facts struct {
	Slot       byte
	Public     crypto.PublicKey
	PIN        pivkey.PINPolicy
	Touch      pivkey.TouchPolicy
	Serial     uint32
	Firmware   [3]byte
	FormFactor byte
}

// Slot issues the attestation of a key, signed by the token's attestation key.
func Slot(f Facts, issuer *x509.Certificate, signer crypto.Signer) ([]byte, error) {
	serial, err := asn1.Marshal(int64(f.Serial))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: certSerial(),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("YubiKey PIV Attestation %02x", f.Slot)},
		NotBefore:    issuer.NotBefore,
		NotAfter:     issuer.NotAfter,
		ExtraExtensions: []pkix.Extension{
			{Id: oidFirmware, Value: f.Firmware[:]},
			{Id: oidSerial, Value: serial},
			{Id: oidPolicy, Value: []byte{byte(f.PIN), byte(f.Touch)}},
			{Id: oidFormFactor, Value: []byte{f.FormFactor}},
		},
	}
	if pub, ok := f.Public.(*ecdh.PublicKey); ok {
		return certifyX25519(template, issuer, pub, signer)
	}
	return x509.CreateCertificate(nil, template, issuer, f.Public, signer)
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
