// Package attest issues an emulated token's attestation certificates: the root,
// the certificate of a token's attestation key, and those of keys in its slots,
// with the contents of Yubico's.
package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"sync"
	"time"
)

// The emulator's root of trust is worthless on purpose: its private key is the
// hash of a published sentence, so that its certificate is the same everywhere
// and nobody can take it for Yubico's.
const rootSentence = "Touchmark emulated PIV root: anybody can compute this private key"

var rootName = pkix.Name{CommonName: "Touchmark emulated PIV root"}

// Validity as in Yubico's attestation certificates.
var (
	certFrom  = time.Date(2016, 3, 14, 0, 0, 0, 0, time.UTC)
	certUntil = time.Date(2052, 4, 17, 0, 0, 0, 0, time.UTC)
)

// deterministic signs by RFC 6979, so that the root certificate never changes.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(nil, digest, opts)
}

type rootAuthority struct {
	key  deterministic
	cert *x509.Certificate
}

var root = sync.OnceValues(func() (rootAuthority, error) {
	d := sha256.Sum256([]byte(rootSentence))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		return rootAuthority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               rootName,
		NotBefore:             certFrom,
		NotAfter:              certUntil,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1,
	}
	signer := deterministic{key}
	der, err := x509.CreateCertificate(nil, template, template, &key.PublicKey, signer)
	if err != nil {
		return rootAuthority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return rootAuthority{signer, cert}, err
})

// Root is the certificate that every emulated token's attestation chains to.
func Root() (*x509.Certificate, error) {
	r, err := root()
	return r.cert, err
}

// RootPEM is [Root] in PEM.
func RootPEM() ([]byte, error) {
	cert, err := Root()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), nil
}
