package attest

import (
	"crypto/x509"
	_ "embed" // the certificates
	"encoding/pem"
	"sync"
)

// Roots decides which device certificates are genuine.
type Roots struct {
	roots, intermediates []*x509.Certificate
	pool                 *x509.CertPool // of roots
}

// NewRoots trusts the given root certificates instead of Yubico's.
func NewRoots(roots ...*x509.Certificate) *Roots {
	r := Roots{roots: roots, pool: x509.NewCertPool()}
	for _, c := range roots {
		r.pool.AddCert(c)
	}
	return &r
}

//go:embed roots/yubico-roots.pem
var yubicoRoots []byte

//go:embed roots/yubico-intermediates.pem
var yubicoIntermediates []byte

// yubico are the embedded ones, parsed when they are asked for: most commands never do.
var yubico = sync.OnceValue(loadYubico)

func loadYubico() *Roots {
	roots := certificates(yubicoRoots)
	for _, c := range roots {
		// Yubico's U2F root also signed PIV device certificates (2017–2018),
		// though its path length of 0 leaves no room for one.
		if c.MaxPathLenZero {
			c.MaxPathLen, c.MaxPathLenZero = 1, false
		}
	}
	r := NewRoots(roots...)
	r.intermediates = certificates(yubicoIntermediates)
	return r
}

// certificates parses an embedded file: failure is a broken build.
func certificates(text []byte) (out []*x509.Certificate) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return out
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic("attest: embedded certificate: " + err.Error())
		}
		out, text = append(out, c), rest
	}
}
