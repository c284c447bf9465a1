package piv

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-piv/piv-go/v2/piv"

	"touchmark/appliance/piv/attest"
)

// KeySpec names a key: a slot ("9a", "9c", "9d", "9e", "82"–"95") and an
// algorithm ("p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519").
type KeySpec struct{ Slot, Algorithm string }

// EnrolConfig says which key to make and which secrets to change. An empty New…
// leaves that secret as it is.
type EnrolConfig struct {
	Key     KeySpec
	Replace bool // destroy a key that is in the slot already

	PIN, NewPIN []byte // zeroed by Enrol
	PUK, NewPUK []byte // zeroed by Enrol

	ManagementKey []byte // nil: the factory's
	// NewManagementKey is for the administrators (see NewManagementKey); it
	// must be kept safe before Enrol is called, as no one else has it after.
	NewManagementKey []byte
}

// Enrolled is a key just made.
type Enrolled struct {
	Public       crypto.PublicKey
	Attestation  []byte // DER: by the token, over the key
	Intermediate []byte // DER: the token's own certificate (slot f9)
	Facts        attest.Facts
}

// FactoryManagementKey is the management key of a new YubiKey.
func FactoryManagementKey() []byte { return append([]byte(nil), piv.DefaultManagementKey...) }

// NewManagementKey makes a random management key, 24 bytes.
func NewManagementKey() []byte {
	key := make([]byte, managementKeySize)
	rand.Read(key) // never fails (crypto/rand)
	return key
}

// Enrol generates a key in the token (touch policy always, PIN policy once),
// checks the token's attestation that it did just that, and then changes PIN,
// PUK and management key where asked. If a PIN was given, it is verified
// afterwards. It refuses to overwrite a key (ErrSlotInUse) unless told to.
// After an error the secrets may have been changed up to the step that failed.
func (t *Token) Enrol(c EnrolConfig) (*Enrolled, error) {
	defer clearAll(c.PIN, c.NewPIN, c.PUK, c.NewPUK)
	slot, err := parseSlot(c.Key.Slot)
	if err != nil {
		return nil, err
	}
	alg, ok := algorithms[c.Key.Algorithm]
	if !ok {
		return nil, fmt.Errorf("unknown key algorithm %q", c.Key.Algorithm)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !c.Replace {
		if err := t.vacant(slot); err != nil {
			return nil, err
		}
	}
	if len(c.PIN) > 0 { // a wrong PIN is found out before anything is changed
		if err := t.verifyPIN(c.PIN); err != nil {
			return nil, err
		}
	}
	e, err := t.generate(slot, alg, c.managementKey())
	if err != nil {
		return nil, err
	}
	return e, t.secure(c)
}

func (c *EnrolConfig) managementKey() []byte {
	if c.ManagementKey == nil {
		return piv.DefaultManagementKey
	}
	return c.ManagementKey
}

func (c *EnrolConfig) check() error {
	var errs []error
	for _, x := range []struct {
		name     string
		old, new []byte
	}{{"PIN", c.PIN, c.NewPIN}, {"PUK", c.PUK, c.NewPUK}} {
		if len(x.new) == 0 && len(x.old) == 0 {
			continue
		}
		errs = append(errs, checkPIN(x.name, x.old))
		if len(x.new) > 0 {
			errs = append(errs, checkPIN("new "+x.name, x.new))
		}
	}
	if n := len(c.NewManagementKey); n != 0 && n != managementKeySize {
		errs = append(errs, fmt.Errorf("a management key has %d bytes, not %d", managementKeySize, n))
	}
	return errors.Join(errs...)
}

// vacant makes sure that the slot holds no key.
func (t *Token) vacant(slot piv.Slot) error {
	_, err := t.public(slot)
	switch {
	case err == nil:
		return fmt.Errorf("slot %s: %w", slot, ErrSlotInUse)
	case errors.Is(err, ErrEmptySlot):
		return nil
	}
	return err
}

func (t *Token) generate(slot piv.Slot, alg piv.Algorithm, key []byte) (*Enrolled, error) {
	var e Enrolled
	policy := piv.Key{Algorithm: alg, PINPolicy: piv.PINPolicyOnce, TouchPolicy: piv.TouchPolicyAlways}
	err := t.do("generating the key", func() (err error) {
		e.Public, err = t.yk.GenerateKey(key, slot, policy)
		return err
	})
	if wrongManagementKey(err) {
		return nil, fmt.Errorf("wrong management key (%w)", err)
	}
	if err != nil {
		return nil, err
	}
	return &e, t.vouch(&e, slot)
}

// vouch has the token attest to its key and checks that.
func (t *Token) vouch(e *Enrolled, slot piv.Slot) (err error) {
	if e.Attestation, e.Intermediate, err = t.attest(slot); err != nil {
		return err
	}
	if e.Facts, err = attest.Verify(e.Attestation, e.Intermediate, t.roots); err != nil {
		return err
	}
	return t.expect(e, slot)
}

// Enrolled is what Enrol would have said of the key that is in the slot: for an
// enrolment that was cut short after the token made its key.
func (t *Token) Enrolled(spec KeySpec) (*Enrolled, error) {
	slot, err := parseSlot(spec.Slot)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &Enrolled{}
	if e.Public, err = t.public(slot); err != nil {
		return nil, err
	}
	return e, t.vouch(e, slot)
}

// wrongManagementKey reports whether that is why a token refused.
func wrongManagementKey(err error) bool {
	var refused *PINError // how classify reads 63xx
	return statusOf(err) == swSecurityStatus || errors.As(err, &refused)
}

// FactoryManaged reports whether the token's management key is the factory's. The
// token is told to take that again, from firmware 5.4 on as an AES key whatever it
// was before: piv-go proves to know a key by nothing less.
func (t *Token) FactoryManaged() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.do("asking for the management key", func() error {
		return t.yk.SetManagementKey(piv.DefaultManagementKey, piv.DefaultManagementKey)
	})
	if wrongManagementKey(err) {
		return false, nil
	}
	return err == nil, err
}

// SetManagementKey changes the management key from old (nil: the factory's) to
// new. A token that has the new one already keeps it.
func (t *Token) SetManagementKey(old, new []byte) error {
	if len(new) != managementKeySize {
		return fmt.Errorf("a management key has %d bytes, not %d", managementKeySize, len(new))
	}
	if old == nil {
		old = piv.DefaultManagementKey
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	set := func(from []byte) error {
		return t.do("changing the management key", func() error { return t.yk.SetManagementKey(from, new) })
	}
	err := set(old)
	if err != nil && set(new) == nil {
		return nil
	}
	return err
}

// expect compares the attestation with what was asked for.
func (t *Token) expect(e *Enrolled, slot piv.Slot) error {
	f := e.Facts
	pub, ok := f.Public.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !pub.Equal(e.Public):
		return errors.New("token attests to another key than it generated")
	case !f.TouchAlways() || !f.PINOnce():
		return errors.New("token made a key with another touch or PIN policy than asked for")
	case f.Slot != slot.String():
		return fmt.Errorf("token attests to slot %s, not %s", f.Slot, slot)
	case f.Serial != 0 && f.Serial != t.info.Serial, f.Firmware != t.info.Firmware:
		return errors.New("token attests to another serial number or firmware than its own")
	}
	return nil
}

// secure changes the secrets, the management key last.
func (t *Token) secure(c EnrolConfig) error {
	if len(c.NewPIN) > 0 {
		if err := t.changePIN(c.PIN, c.NewPIN); err != nil {
			return err
		}
	}
	if len(c.NewPUK) > 0 {
		if err := t.changePUK(c.PUK, c.NewPUK); err != nil {
			return err
		}
	}
	if len(c.NewManagementKey) > 0 {
		return t.do("changing the management key", func() error {
			return t.yk.SetManagementKey(c.managementKey(), c.NewManagementKey)
		})
	}
	return nil
}

func (t *Token) changePIN(old, new []byte) error {
	if err := t.change("changing the PIN", old, new, t.yk.SetPIN); err != nil {
		return err
	}
	return t.verifyPIN(new)
}

func (t *Token) changePUK(old, new []byte) error {
	err := t.change("changing the PUK", old, new, t.yk.SetPUK)
	var pe *PINError
	if errors.As(err, &pe) {
		return &PINError{PUK: true, Retries: pe.Retries}
	}
	return err
}

func (t *Token) change(op string, old, new []byte, set func(old, new string) error) error {
	return withSecret(old, func(o string) error {
		return withSecret(new, func(n string) error {
			return t.do(op, func() error { return set(o, n) })
		})
	})
}

// Public returns the public half of the key in a slot, or ErrEmptySlot.
func (t *Token) Public(slot string) (crypto.PublicKey, error) {
	s, err := parseSlot(slot)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.public(s)
}

func (t *Token) public(s piv.Slot) (pub crypto.PublicKey, err error) {
	err = t.do("reading the public key", func() error {
		info, err := t.yk.KeyInfo(s)
		if statusOf(err) != swNoInstruction {
			pub = info.PublicKey
			return err
		}
		cert, err := t.yk.Attest(s) // firmware before 5.3
		if err == nil {
			pub = cert.PublicKey
		}
		return err
	})
	return pub, err
}

// Attest returns the token's attestation of the key in a slot and its own
// certificate, both DER.
func (t *Token) Attest(slot string) (attestation, intermediate []byte, err error) {
	s, err := parseSlot(slot)
	if err != nil {
		return nil, nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attest(s)
}

func (t *Token) attest(s piv.Slot) (attestation, intermediate []byte, err error) {
	err = t.do("reading the attestation", func() error {
		a, err := t.yk.Attest(s)
		if err != nil {
			return err
		}
		i, err := t.yk.AttestationCertificate()
		if err != nil {
			return err
		}
		attestation, intermediate = a.Raw, i.Raw
		return nil
	})
	return attestation, intermediate, err
}

var algorithms = map[string]piv.Algorithm{
	"p256":    piv.AlgorithmEC256,
	"p384":    piv.AlgorithmEC384,
	"rsa2048": piv.AlgorithmRSA2048,
	"rsa3072": piv.AlgorithmRSA3072,
	"rsa4096": piv.AlgorithmRSA4096,
	"ed25519": piv.AlgorithmEd25519,
}

func parseSlot(s string) (piv.Slot, error) {
	n, err := strconv.ParseUint(s, 16, 8)
	if err == nil && len(s) == 2 {
		for _, slot := range []piv.Slot{piv.SlotAuthentication, piv.SlotSignature, piv.SlotKeyManagement, piv.SlotCardAuthentication} {
			if uint64(slot.Key) == n && slot.String() == s {
				return slot, nil
			}
		}
		if slot, ok := piv.RetiredKeyManagementSlot(uint32(n)); ok && slot.String() == s {
			return slot, nil
		}
	}
	return piv.Slot{}, fmt.Errorf("unknown slot %q", s)
}

func clearAll(secrets ...[]byte) {
	for _, s := range secrets {
		clear(s)
	}
}
