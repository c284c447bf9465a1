// Package tokenkey judges what a log says of a key of a token (ledger.TokenKey):
// whether its parts are about one key, whether the token's attestation says the
// same, and whether it may join the keys that a log has.
//
// The board, hosts and auditors ask here, so that they agree about which keys are
// a log's. Its records also travel alone, from the machine where a token made its
// key to the administrators who order it (docs/spec/ledger.md §5.1).
//
// The package is pure.
package tokenkey

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
)

// domain is the first line of a record that travels alone.
const domain = "touchmark/token-key/v1"

// Marshal encodes a record; what Parse would refuse is an error.
func Marshal(k *ledger.TokenKey) ([]byte, error) {
	w := canon.NewWriter(domain)
	k.Write(w)
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("token key: %w", w.Err())
	}
	if _, err := Parse(text); err != nil {
		return nil, err
	}
	return text, nil
}

// Parse decodes what Marshal encodes, and checks that its parts are about one key.
func Parse(text []byte) (*ledger.TokenKey, error) {
	if len(text) > MaxRecord {
		return nil, fmt.Errorf("token key of %d bytes, at most %d", len(text), MaxRecord)
	}
	r := canon.NewReader(text, domain)
	k := ledger.ReadTokenKey(r)
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if _, err := Certificate(&k); err != nil {
		return nil, fmt.Errorf("token key %q: %w", k.Name, err)
	}
	return &k, nil
}

// Certificate is the OpenPGP certificate in a record, if it is that key's and one
// of its family.
func Certificate(k *ledger.TokenKey) (*certificate.Certificate, error) {
	c, err := certificate.Parse(k.Cert)
	if err != nil {
		return nil, fmt.Errorf("its OpenPGP certificate: %w", err)
	}
	pub, err := x509.ParsePKIXPublicKey(k.SPKI)
	if err != nil || !Same(pub, c.Key.Public) || k.Fingerprint != c.Key.Fingerprint() || k.Algorithm != c.Key.Algorithm() {
		return nil, errors.New("it and the OpenPGP certificate are not the same key")
	}
	return c, c.Fits(k.Family)
}

// Same reports whether two public keys are one.
func Same(a, b crypto.PublicKey) bool {
	eq, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && eq.Equal(b)
}

// InPolicy compares a key with the policy's table of it.
func InPolicy(k *ledger.TokenKey, p *policy.Policy) error {
	want := policy.Key{Name: k.Name, Slot: k.Slot, Family: k.Family, Algorithm: k.Algorithm}
	if have, ok := p.Key(k.Name); !ok || *have != want {
		return fmt.Errorf("the token key %q is not as the policy says", k.Name)
	}
	return nil
}

// Attested is what the token's attestation says of a key, if that is what the
// record says (docs/spec/audit.md §2.2). With roots nil, Yubico's decide whether
// the token is a real one.
func Attested(k *ledger.TokenKey, roots *attest.Roots) (attest.Facts, error) {
	f, err := attest.Verify(k.Attestation.Slot, k.Attestation.Intermediate, roots)
	if err != nil {
		return f, err
	}
	pub, err := x509.ParsePKIXPublicKey(k.SPKI)
	switch {
	case err != nil:
		return f, err
	case !Same(f.Public, pub):
		return f, errors.New("it is for another key")
	case f.Slot != k.Slot:
		return f, fmt.Errorf("the key is in slot %s, not %s", f.Slot, k.Slot)
	case f.Serial != k.Token.Serial || f.Firmware != k.Token.Firmware:
		return f, fmt.Errorf("the token is number %d with firmware %s", f.Serial, f.Firmware)
	case !f.TouchAlways():
		return f, errors.New("the key does not need a touch each time")
	case !f.PINOnce():
		return f, errors.New("the key's PIN policy is not \"once\"")
	case f.Emulated && !k.Token.Emulated:
		return f, errors.New("its chain does not end at Yubico, though the record says so")
	}
	return f, nil
}

// Known is one of the keys that a log has.
type Known struct {
	Name   string
	Public crypto.PublicKey // nil if it is not known
}

// Join says why a key cannot join those that a log has, or gives its certificate
// (docs/spec/ledger.md §1.9). Emulated tells that the log began with a key that may
// exist in copies; p is the policy in force.
func Join(k *ledger.TokenKey, log []Known, emulated bool, p *policy.Policy) (*certificate.Certificate, error) {
	if err := InPolicy(k, p); err != nil {
		return nil, err
	}
	c, err := Certificate(k)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the token key %q: %w", k.Name, err)
	case !c.Fresh():
		return nil, fmt.Errorf("the certificate of key %q is not the one of a new key", k.Name)
	case k.Token.Emulated && !emulated:
		return nil, fmt.Errorf("key %q is an emulated token's, and this log has keys of real ones only", k.Name)
	case len(log) >= MaxKeys:
		return nil, fmt.Errorf("this log has %d keys already", len(log))
	}
	for _, o := range log {
		switch {
		case o.Name == k.Name:
			return nil, fmt.Errorf("this log has a key %q already", k.Name)
		case Same(o.Public, c.Key.Public):
			return nil, fmt.Errorf("key %q is this log's key %q: a key has one name and one family", k.Name, o.Name)
		}
	}
	return c, nil
}
