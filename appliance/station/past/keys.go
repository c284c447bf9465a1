package past

import (
	"fmt"
	"slices"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
)

// Key is one of the log's keys.
type Key struct {
	Name string // as policy and orders have it
	Slot string
	Cert *certificate.Certificate // in force, with what the token signed by order
	Weak string                   // the token's firmware, if whoever holds the token can extract the key (EUCLEAK)
}

// keysOf are the keys of a genesis entry.
func keysOf(g *ledger.Genesis) ([]Key, error) {
	var keys []Key
	for _, k := range g.Keys {
		c, err := certificate.Parse(k.Cert)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.Name, err)
		}
		keys = append(keys, keyOf(&k, c))
	}
	return keys, nil
}

func keyOf(k *ledger.TokenKey, c *certificate.Certificate) Key {
	key := Key{Name: k.Name, Slot: k.Slot, Cert: c}
	if (attest.Facts{Public: c.Key.Public, Firmware: k.Token.Firmware}).EUCLEAK() {
		key.Weak = k.Token.Firmware
	}
	return key
}

// Join adds a token's key to the law's list, or says why it cannot be one of
// this log's. What the token attests is checked too.
func (p *Past) Join(l *Law, k *ledger.TokenKey) error {
	log := make([]tokenkey.Known, len(l.Keys))
	for i, o := range l.Keys {
		log[i] = tokenkey.Known{Name: o.Name, Public: o.Cert.Key.Public}
	}
	c, err := tokenkey.Join(k, log, p.Trust.Emulated, l.Policy)
	if err != nil {
		return err
	}
	if _, err := tokenkey.Attested(k, nil); err != nil {
		return fmt.Errorf("the token's attestation of key %q: %w", k.Name, err)
	}
	l.Keys = append(slices.Clip(l.Keys), keyOf(k, c))
	return nil
}

// Named finds a key by its name, nil if the log has none of it.
func (l *Law) Named(name string) *Key {
	for i := range l.Keys {
		if l.Keys[i].Name == name {
			return &l.Keys[i]
		}
	}
	return nil
}
