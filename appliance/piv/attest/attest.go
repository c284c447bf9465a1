package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"
)

// PINPolicy says when the token wants the PIN before it uses the key, as
// encoded in the attestation.
type PINPolicy byte

// TouchPolicy says when the token wants a touch before it uses the key, as
// encoded in the attestation.
type TouchPolicy byte

// The policies (PIV attestation, extension .3.8, first and second byte).
const (
	PINNever       PINPolicy = 1
	PINOnce        PINPolicy = 2
	PINAlways      PINPolicy = 3
	PINMatchOnce   PINPolicy = 4
	PINMatchAlways PINPolicy = 5

	TouchNever  TouchPolicy = 1
	TouchAlways TouchPolicy = 2
	TouchCached TouchPolicy = 3
)

// Facts is what an attestation says about a key.
type Facts struct {
	Serial     uint32 // 0 if the token does not tell
	Firmware   string // "5.7.1"
	FormFactor byte   // 0 if not told
	Slot       string // "9c"
	PIN        PINPolicy
	Touch      TouchPolicy
	Public     crypto.PublicKey
	// Emulated: the chain does not end at the given roots. Nothing above is
	// then more than a claim.
	Emulated bool
}

// TouchAlways reports that every use of the key needs a touch of its own.
func (f Facts) TouchAlways() bool { return f.Touch == TouchAlways }

// PINOnce reports that the key needs the PIN once per session.
func (f Facts) PINOnce() bool { return f.PIN == PINOnce }

// EUCLEAK reports whether whoever holds the token for a while can extract the
// key: one on an elliptic curve, but Ed25519, in firmware below 5.7 (Yubico
// YSA-2024-03). A version that cannot be read counts as older.
func (f Facts) EUCLEAK() bool {
	if _, ec := f.Public.(*ecdsa.PublicKey); !ec {
		return false
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(f.Firmware, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return true
	}
	return major < 5 || major == 5 && minor < 7
}

// Yubico's extensions: 1.3.6.1.4.1.41482.3.x.
var (
	oidFirmware   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 3}
	oidSerial     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 7}
	oidPolicy     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 8}
	oidFormFactor = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 9}
)

// Verify checks the attestation slot against the device certificate device
// (both DER) and returns what it says. With roots nil, Yubico's decide whether
// it is emulated.
func Verify(slot, device []byte, roots *Roots) (Facts, error) {
	s, err := parse("attestation", slot)
	if err != nil {
		return Facts{}, err
	}
	d, err := parse("device certificate", device)
	if err != nil {
		return Facts{}, err
	}
	// The signature only: old device certificates lack the CA constraint.
	if err := d.CheckSignature(s.SignatureAlgorithm, s.RawTBSCertificate, s.Signature); err != nil {
		return Facts{}, fmt.Errorf("attestation is not signed by the device certificate: %w", err)
	}
	if !bytes.Equal(s.RawIssuer, d.RawSubject) {
		return Facts{}, errors.New("attestation names another issuer than the device certificate")
	}
	f, err := read(s)
	f.Emulated = roots.check(s, d) != nil
	return f, err
}

// Genuine reports whether a device certificate (DER, slot f9) chains to the
// roots, nil meaning Yubico's. The certificate alone is public: only an
// attestation made with its key proves the token.
func Genuine(device []byte, roots *Roots) bool {
	d, err := parse("device certificate", device)
	return err == nil && roots.check(d, d) == nil
}

func parse(what string, der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", what, len(der), maxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}

// read takes the facts from an attestation whose signature was checked.
func read(s *x509.Certificate) (Facts, error) {
	f := Facts{Public: s.PublicKey}
	slot, ok := strings.CutPrefix(s.Subject.CommonName, "YubiKey PIV Attestation ")
	if !ok || len(slot) != 2 || strings.Trim(slot, "0123456789abcdef") != "" {
		return f, fmt.Errorf("attestation subject %q names no slot", s.Subject.CommonName)
	}
	f.Slot = slot
	for _, e := range s.Extensions { // each at most once: x509 refuses duplicates
		if err := f.add(e.Id, e.Value); err != nil {
			return f, err
		}
	}
	if f.Firmware == "" || f.PIN == 0 {
		return f, errors.New("attestation without firmware version or key policy")
	}
	return f, nil
}

func (f *Facts) add(id asn1.ObjectIdentifier, v []byte) error {
	switch {
	case id.Equal(oidFirmware):
		if len(v) != 3 {
			return fmt.Errorf("attestation: firmware version of %d bytes", len(v))
		}
		f.Firmware = fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
	case id.Equal(oidSerial):
		var n int64
		if rest, err := asn1.Unmarshal(v, &n); err != nil || len(rest) > 0 || n < 0 || n > 1<<32-1 {
			return fmt.Errorf("attestation: bad serial number %x", v)
		}
		f.Serial = uint32(n)
	case id.Equal(oidPolicy):
		if len(v) != 2 || v[0] < 1 || v[0] > byte(PINMatchAlways) || v[1] < 1 || v[1] > byte(TouchCached) {
			return fmt.Errorf("attestation: unknown key policy %x", v)
		}
		f.PIN, f.Touch = PINPolicy(v[0]), TouchPolicy(v[1])
	case id.Equal(oidFormFactor):
		if len(v) != 1 {
			return fmt.Errorf("attestation: form factor of %d bytes", len(v))
		}
		f.FormFactor = v[0]
	}
	return nil
}

// check builds the chain from leaf through device to a root.
func (r *Roots) check(leaf, device *x509.Certificate) error {
	if r == nil {
		r = yubico()
	}
	if !device.BasicConstraintsValid { // some YubiKey 4: a CA in all but name
		d := *device
		d.BasicConstraintsValid, d.IsCA = true, true
		device = &d
	}
	between := x509.NewCertPool()
	now := leaf.NotBefore
	for _, c := range append([]*x509.Certificate{device}, r.intermediates...) {
		between.AddCert(c)
		now = later(now, c.NotBefore)
	}
	for _, c := range r.roots {
		now = later(now, c.NotBefore)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         r.pool,
		Intermediates: between,
		CurrentTime:   now, // the earliest at which all of them exist
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
