package past

import (
	"fmt"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/sigformat"
	"touchmark/tpm/ledger"
)

// Key is one of the log's keys.
type Key struct {
	Name string // as policy and orders have it
	Slot string
	Cert *sigformat.Certificate // in force, with what the token signed by order
	Weak string                 // the token's firmware, if whoever holds the token can extract the key (EUCLEAK)
}

// keysOf are the keys of a genesis entry.
func keysOf(g *ledger.Genesis) ([]Key, error) {
	var keys []Key
	for _, k := range g.Keys {
		c, err := sigformat.ParseCertificate(k.Cert)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.Name, err)
		}
		key := Key{Name: k.Name, Slot: k.Slot, Cert: c}
		if (attest.Facts{Public: c.Key.Public, Firmware: k.Token.Firmware}).EUCLEAK() {
			key.Weak = k.Token.Firmware
		}
		keys = append(keys, key)
	}
	return keys, nil
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
