package device

import (
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// AuthSize is the size of an authorization that SetAuth takes: no longer than
// the digest of any hierarchy's.
const AuthSize = 32

// Hierarchy is one of the three whose authorization outlasts a reset.
type Hierarchy int

// The hierarchies.
const (
	Owner Hierarchy = iota
	Endorsement
	Lockout
)

// Hierarchies are all of them.
func Hierarchies() []Hierarchy { return []Hierarchy{Owner, Endorsement, Lockout} }

var hierarchies = [...]struct {
	name   string
	handle tpm2.TPMHandle
	bit    uint32 // of permanent
}{
	Owner:       {"owner", tpm2.TPMRHOwner, ownerAuthSet},
	Endorsement: {"endorsement", tpm2.TPMRHEndorsement, endorsementAuthSet},
	Lockout:     {"lockout", tpm2.TPMRHLockout, lockoutAuthSet},
}

// String is the name of a hierarchy.
func (h Hierarchy) String() string { return hierarchies[h].name }

// permanent are the bits of TPM_PT_PERMANENT (Part 2, TPMA_PERMANENT).
const (
	ownerAuthSet       = 1 << 0
	endorsementAuthSet = 1 << 1
	lockoutAuthSet     = 1 << 2
)

// SetAuth sets the authorization of a hierarchy that has none (ErrAuthSet: it has,
// and none is tried, since for the lockout hierarchy a wrong one locks it for a day:
// Part 1, "Lockout Mode Configuration Parameters"). With all three set nobody without
// them removes the AK, uses an endorsement key or clears the TPM (but for the
// platform, until the board replaces its authorization at each start). HEAD and what
// a running board asks of the TPM need none of them.
func (t *TPM) SetAuth(h Hierarchy, auth []byte) error {
	if len(auth) != AuthSize {
		return fmt.Errorf("tpm: an authorization has %d bytes", AuthSize)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := t.permanent()
	switch {
	case err != nil:
		return err
	case set&hierarchies[h].bit != 0:
		return ErrAuthSet
	}
	_, err = tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: hierarchies[h].handle, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: auth},
	}.Execute(t.wire)
	return explain(tpm2.TPMCCHierarchyChanegAuth, err)
}

// AuthSet tells whether one of these hierarchies has an authorization.
func (t *TPM) AuthSet(of ...Hierarchy) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := t.permanent()
	for _, h := range of {
		if set&hierarchies[h].bit != 0 {
			return true, err
		}
	}
	return false, err
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
