package pivemu

import (
	"fmt"

	"touchmark/tests/pivemu/pivkey"
)

// profile is what differs between firmware versions.
type profile struct {
	name       string
	version    [3]byte
	managedBy  mgmtAlg // type of the factory management key
	attestRSA  bool    // attestation key RSA-2048 as in 5.4; P-256 otherwise
	modernKeys bool    // RSA-3072/4096, Ed25519, X25519
	moveKeys   bool    // MOVE KEY, DELETE KEY
}

var profiles = []profile{
	{name: "5.4.3", version: [3]byte{5, 4, 3}, managedBy: mgmt3DES, attestRSA: true},
	{name: "5.7.1", version: [3]byte{5, 7, 1}, managedBy: mgmtAES192, modernKeys: true, moveKeys: true},
}

func profileOf(name string) (profile, error) {
	if name == "" {
		name = "5.7.1"
	}
	for _, p := range profiles {
		if p.name == name {
			return p, nil
		}
	}
	return profile{}, fmt.Errorf("pivemu: no firmware profile %q: use 5.4.3 or 5.7.1", name)
}

// formFactor is "USB-A keychain" (Yubico's management documentation).
const formFactor = 0x01

// supports tells whether this firmware has the algorithm.
func (p profile) supports(a pivkey.Alg) bool {
	switch a {
	case pivkey.RSA1024, pivkey.RSA2048, pivkey.P256, pivkey.P384:
		return true
	case pivkey.RSA3072, pivkey.RSA4096, pivkey.Ed25519, pivkey.X25519:
		return p.modernKeys
	}
	return false
}
