package device

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// AuthSize is the size of an authorization that SetAuths takes: no longer than
// the digest of any hierarchy's.
const AuthSize = 32

// Auths are the authorizations of the three hierarchies that outlast a reset.
type Auths struct {
	Owner, Endorsement, Lockout []byte // of AuthSize bytes each
}

// permanent are the bits of TPM_PT_PERMANENT (Part 2, TPMA_PERMANENT).
const (
	ownerAuthSet       = 1 << 0
	endorsementAuthSet = 1 << 1
	lockoutAuthSet     = 1 << 2
)

// SetAuths sets the authorizations of owner, endorsement and lockout, which
// must be empty, or these already: then it changes nothing, so that it can be
// repeated after a failure. Afterwards nobody without them removes the AK, uses
// an endorsement key or clears the TPM (but for the platform, until the board
// replaces its authorization at each start). HEAD and what a running board asks
// of the TPM need none of them.
func (t *TPM) SetAuths(a Auths) error {
	if len(a.Owner) != AuthSize || len(a.Endorsement) != AuthSize || len(a.Lockout) != AuthSize {
		return fmt.Errorf("tpm: an authorization has %d bytes", AuthSize)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := t.permanent()
	if err != nil {
		return err
	}
	for _, h := range []struct {
		handle tpm2.TPMHandle
		bit    uint32
		auth   []byte
		name   string
	}{
		{tpm2.TPMRHOwner, ownerAuthSet, a.Owner, "owner"},
		{tpm2.TPMRHEndorsement, endorsementAuthSet, a.Endorsement, "endorsement"},
		{tpm2.TPMRHLockout, lockoutAuthSet, a.Lockout, "lockout"},
	} {
		if err := t.setAuth(h.handle, h.auth, set&h.bit != 0); err != nil {
			return fmt.Errorf("the authorization of the %s hierarchy: %w", h.name, err)
		}
	}
	return nil
}

// setAuth sets one authorization. One that is set must be this one: to change
// it into itself shows that. For the lockout hierarchy a wrong one locks it for
// a day (Part 1, "Lockout Mode Configuration Parameters"); that is what a file
// that belongs to another TPM costs.
func (t *TPM) setAuth(h tpm2.TPMHandle, auth []byte, set bool) error {
	var old []byte
	if set {
		old = auth
	}
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: h, Auth: tpm2.PasswordAuth(old)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: auth},
	}.Execute(t.wire)
	if err = explain(tpm2.TPMCCHierarchyChanegAuth, err); errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w (%w)", ErrAuthSet, err)
	}
	return err
}

// AuthsSet tells whether any of the three authorizations is set.
func (t *TPM) AuthsSet() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := t.permanent()
	return set&(ownerAuthSet|endorsementAuthSet|lockoutAuthSet) != 0, err
}

func (t *TPM) permanent() (uint32, error) { return t.property(tpm2.TPMPTPermanent) }

// property is a value of TPM_CAP_TPM_PROPERTIES.
func (t *TPM) property(which tpm2.TPMPT) (uint32, error) {
	list, err := capability(t, tpm2.TPMCapTPMProperties, uint32(which), 1, (*tpm2.TPMUCapabilities).TPMProperties)
	if err != nil {
		return 0, err
	}
	if len(list.TPMProperty) != 1 || list.TPMProperty[0].Property != which {
		return 0, fmt.Errorf("tpm: the TPM does not tell its property %#x", uint32(which))
	}
	return list.TPMProperty[0].Value, nil
}

// Maker is what the TPM says of itself (Part 2, TPM_PT_MANUFACTURER,
// TPM_PT_VENDOR_STRING_1 to 4, TPM_PT_FIRMWARE_VERSION_1 and 2).
type Maker struct {
	Manufacturer string // up to four letters, such as "IFX"
	Vendor       string
	Firmware     string // two 32-bit words in hex
}

// Simulated tells whether the TPM is a program: those known to us admit it. A
// chip never says so; a program that pretends to be a chip is found out by its
// EK certificate.
func (m Maker) Simulated() bool { return m.Manufacturer == "IBM" || m.Manufacturer == "MSFT" }

// Maker asks the TPM who made it.
func (t *TPM) Maker() (Maker, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words [7]uint32
	for i, p := range []tpm2.TPMPT{tpm2.TPMPTManufacturer, tpm2.TPMPTVendorString1, tpm2.TPMPTVendorString1 + 1,
		tpm2.TPMPTVendorString1 + 2, tpm2.TPMPTVendorString1 + 3, tpm2.TPMPTFirmwareVersion1, tpm2.TPMPTFirmwareVersion2} {
		var err error
		if words[i], err = t.property(p); err != nil {
			return Maker{}, err
		}
	}
	return Maker{
		Manufacturer: letters(words[0:1]),
		Vendor:       letters(words[1:5]),
		Firmware:     fmt.Sprintf("%08x %08x", words[5], words[6]),
	}, nil
}

// letters reads words as ASCII; what cannot be printed, and NUL, is left out.
func letters(words []uint32) string {
	var s []byte
	for _, w := range words {
		for shift := 24; shift >= 0; shift -= 8 {
			if b := byte(w >> shift); b >= 0x20 && b <= 0x7e {
				s = append(s, b)
			}
		}
	}
	return strings.TrimSpace(string(s))
}
