package sigformat

import (
	"fmt"
	"slices"
)

// Keyring are the certificates of a log's keys, each key once.
type Keyring []*Certificate

// ParseKeyring parses certificates. None of them, or two of one key, are an
// error.
func ParseKeyring(certs [][]byte) (Keyring, error) {
	var r Keyring
	for _, b := range certs {
		c, err := ParseCertificate(b)
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

// OpenPGP are the certificates that OpenPGP tools take, one behind the other.
func OpenPGP(certs [][]byte) []byte {
	var all []byte
	for _, b := range certs {
		if c, err := ParseCertificate(b); err == nil && !c.Bare() {
			all = append(all, b...)
		}
	}
	return all
}

// ArmorAll puts those into one ASCII-armored block, which gpg and sq take as a
// keyring; nil if there are none.
func ArmorAll(certs [][]byte) []byte {
	all := OpenPGP(certs)
	if all == nil {
		return nil
	}
	return Armor(all)
}
