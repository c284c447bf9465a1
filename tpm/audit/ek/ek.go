// Package ek checks the certificate by which a TPM's maker vouches for its
// endorsement key (TCG EK Credential Profile for TPM Family 2.0, §3), against
// roots that the auditor chose.
//
// Guarantees: pure; bounded; nothing but a chain of signatures from the
// certificate to one of the roots, each valid at the given time, with the
// purpose "endorsement key" (tcg-kp-EKCertificate), is accepted. Whether that
// key answers is for a credential to say (package challenge): a certificate
// alone is public and proves nothing.
package ek

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Object identifiers of the TCG EK Credential Profile, §3.1 and §3.2.
var (
	oidManufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidModel        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidVersion      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
	oidPurpose      = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
	oidAltName      = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Facts is what a certificate says of its TPM. The strings are the maker's,
// printable ASCII, cut to maxName.
type Facts struct {
	Manufacturer string // "id:" and the four letters of TPM_PT_MANUFACTURER, in hex
	Model        string
	Version      string
	Issuer       string // who signed the certificate
	Root         string // the root that the chain leads to
	NotAfter     time.Time
}

// Roots are the certificates that an auditor trusts to vouch for TPMs: those
// that signed themselves end chains, others are steps on the way.
type Roots struct {
	ends, steps *x509.CertPool
	n           int
}

// Add reads one file, DER or any number of PEM certificates.
func (r *Roots) Add(file []byte) error {
	if r.ends == nil {
		r.ends, r.steps = x509.NewCertPool(), x509.NewCertPool()
	}
	if len(file) > MaxRootsFile {
		return fmt.Errorf("%d bytes, at most %d", len(file), MaxRootsFile)
	}
	block, rest := pem.Decode(file)
	if block == nil {
		return r.add(file)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("it holds a %s, not only certificates", block.Type)
		}
		if err := r.add(block.Bytes); err != nil {
			return err
		}
	}
	return nil
}

func (r *Roots) add(der []byte) error {
	if r.n++; r.n > maxRoots {
		return fmt.Errorf("more than %d certificates", maxRoots)
	}
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return err
	case !cert.IsCA:
		return fmt.Errorf("%s is no certificate authority", name(cert.Subject))
	case bytes.Equal(cert.RawSubject, cert.RawIssuer):
		r.ends.AddCert(cert)
	default:
		r.steps.AddCert(cert)
	}
	return nil
}

// Verify checks that an EK certificate leads to one of the roots at a time.
func (r *Roots) Verify(der []byte, at time.Time) (*Facts, error) {
	if r.n == 0 {
		return nil, errors.New("EK certificate: there are no roots to hold it against")
	}
	if len(der) > MaxCertificate {
		return nil, fmt.Errorf("EK certificate of %d bytes, at most %d", len(der), MaxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("EK certificate: %w", err)
	}
	f := &Facts{Issuer: name(cert.Issuer), NotAfter: cert.NotAfter}
	if err := f.read(cert); err != nil {
		return nil, fmt.Errorf("EK certificate: %w", err)
	}
	switch {
	case cert.IsCA:
		return nil, errors.New("EK certificate: it is a certificate authority's")
	case !slices.ContainsFunc(cert.UnknownExtKeyUsage, oidPurpose.Equal):
		return nil, errors.New("EK certificate: it is not for an endorsement key: the purpose tcg-kp-EKCertificate is missing")
	}
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: r.ends, Intermediates: r.steps, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("EK certificate, issued by %s: %w", f.Issuer, err)
	}
	f.Root = name(chains[0][len(chains[0])-1].Subject)
	return f, nil
}

// read takes maker, model and version out of the subject's alternative name, a
// directory name that crypto/x509 leaves alone; it is critical, because the
// subject is empty (§3.2.9 of the profile).
func (f *Facts) read(cert *x509.Certificate) error {
	i := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidAltName) })
	if i < 0 {
		return errors.New("it does not name the TPM: no subject alternative name")
	}
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(cert.Extensions[i].Value, &names); err != nil || len(rest) > 0 {
		return errors.New("its subject alternative name is malformed")
	}
	for _, n := range names {
		if n.Class != asn1.ClassContextSpecific || n.Tag != 4 { // directoryName (RFC 5280, §4.2.1.6)
			continue
		}
		var directory pkix.RDNSequence
		if rest, err := asn1.Unmarshal(n.Bytes, &directory); err != nil || len(rest) > 0 {
			return errors.New("the directory name of the TPM is malformed")
		}
		f.take(directory)
	}
	if f.Manufacturer == "" {
		return errors.New("it does not name the TPM's maker")
	}
	cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, oidAltName.Equal)
	return nil
}

func (f *Facts) take(directory pkix.RDNSequence) {
	for _, set := range directory {
		for _, a := range set {
			value, ok := a.Value.(string)
			if !ok {
				continue
			}
			switch {
			case a.Type.Equal(oidManufacturer):
				f.Manufacturer = printable(value)
			case a.Type.Equal(oidModel):
				f.Model = printable(value)
			case a.Type.Equal(oidVersion):
				f.Version = printable(value)
			}
		}
	}
}

func name(n pkix.Name) string { return printable(n.String()) }

// printable makes a maker's words fit for a terminal and a transcript.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxName)]
}
