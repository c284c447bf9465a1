package certificate

import (
	"errors"
	"fmt"
	"slices"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/message"
)

// Keyring are the certificates of a log's keys, each key once.
type Keyring []*Certificate

// ParseKeyring parses certificates. None of them, or two of one key, are an
// error.
func ParseKeyring(certs [][]byte) (Keyring, error) {
	var r Keyring
	for _, b := range certs {
		c, err := Parse(b)
		if err != nil {
			return nil, err
		}
		if r.Find(c.Key.Fingerprint()) != nil {
			return nil, fmt.Errorf("two certificates are of the key %X", c.Key.Fingerprint())
		}
		r = append(r, c)
	}
	if len(r) == 0 {
		return nil, fmt.Errorf("there is no certificate")
	}
	return r, nil
}

// Find returns the certificate of a key, nil if there is none.
func (r Keyring) Find(fingerprint [20]byte) *Certificate {
	i := slices.IndexFunc(r, func(c *Certificate) bool { return c.Key.Fingerprint() == fingerprint })
	if i < 0 {
		return nil
	}
	return r[i]
}

// VerifyCertification checks a renewal, a revocation or an agreement to a primary that
// one of the keys made of itself, over the digest that the log announced (docs/spec/ledger.md §1.8). What
// the packet says of time and expiry is not held against that digest: With does it.
func (r Keyring) VerifyCertification(sig []byte, announced message.Digest) error {
	err := r.verifyCertification(sig, announced)
	if err != nil {
		return fmt.Errorf("openpgp certification: %w", err)
	}
	return nil
}

func (r Keyring) verifyCertification(sig []byte, announced message.Digest) error {
	said, rest, err := openpgp.Open(sig, openpgp.TypeCertification, openpgp.TypeRevocation, openpgp.TypeBinding)
	if err != nil {
		return err
	}
	c := r.Find(said.Fingerprint)
	switch {
	case len(rest) != 0:
		return errors.New("bytes after the signature packet")
	case c == nil:
		return fmt.Errorf("made by the unknown key %X", said.Fingerprint)
	case said.Alg != announced.Alg:
		return fmt.Errorf("made with %s, announced with %s", said.Alg, announced.Alg)
	}
	return said.Verify(c.Key, announced.Sum)
}

// ArmorAll puts the certificates that OpenPGP tools take into one ASCII-armored block,
// which gpg and sq take as a keyring; nil if there are none.
func ArmorAll(certs [][]byte) []byte {
	var all []byte
	for _, b := range certs {
		if c, err := Parse(b); err == nil && !c.Bare() {
			all = append(all, b...)
		}
	}
	if all == nil {
		return nil
	}
	return openpgp.Armor(all)
}
