package pivemu

import (
	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

// slot is a key reference (SP 800-73-4 part 1 table 4b): 9a, 9c, 9d, 9e, the
// retired ones 82 to 95, and Yubico's attestation slot f9.
type slot byte

const (
	slotManagement  slot = 0x9b
	slotSignature   slot = 0x9c
	slotCardAuth    slot = 0x9e
	slotAttestation slot = 0xf9
)

func (s slot) valid() bool {
	switch {
	case s == 0x9a, s == slotSignature, s == 0x9d, s == slotCardAuth, s == slotAttestation:
		return true
	}
	return s >= 0x82 && s <= 0x95
}

// defaultPIN is the PIN policy a key gets when the command names none.
func (s slot) defaultPIN() pivkey.PINPolicy {
	switch s {
	case slotSignature:
		return pivkey.PINAlways
	case slotCardAuth:
		return pivkey.PINNever
	}
	return pivkey.PINOnce
}

// Objects of GENERATE and IMPORT.
const (
	tagTemplate    = 0xac
	tagAlgorithm   = 0x80
	tagPINPolicy   = 0xaa
	tagTouchPolicy = 0xab
	tagPublicKey   = 0x7f49
)

// policies reads the optional policy objects aa and ab; 0 stands for the
// default.
func policies(s slot, o iso7816.Objects) (pivkey.PINPolicy, pivkey.TouchPolicy, bool) {
	pin, touch := s.defaultPIN(), pivkey.TouchNone
	if v, ok := o.Find(tagPINPolicy); ok {
		if len(v) != 1 || v[0] > byte(pivkey.PINAlways) {
			return 0, 0, false
		}
		if v[0] != 0 {
			pin = pivkey.PINPolicy(v[0])
		}
	}
	if v, ok := o.Find(tagTouchPolicy); ok {
		if len(v) != 1 || v[0] > byte(pivkey.TouchCached) {
			return 0, 0, false
		}
		if v[0] != 0 {
			touch = pivkey.TouchPolicy(v[0])
		}
	}
	return pin, touch, true
}

// generate is GENERATE ASYMMETRIC KEY PAIR (§3.3.2).
func (c *Card) generate(cmd iso7816.Command) ([]byte, iso7816.SW) {
	s := slot(cmd.P2)
	if cmd.P1 != 0 || !s.valid() {
		return nil, iso7816.WrongP1P2
	}
	if !c.session.managed {
		return nil, iso7816.NotSatisfied
	}
	k, ok := c.readTemplate(s, cmd.Data)
	if !ok {
		return nil, iso7816.WrongData
	}
	var err error
	if k.Private, err = pivkey.Generate(k.Alg); err != nil {
		c.log.note("cannot generate: " + err.Error())
		return nil, iso7816.Aborted
	}
	pub, err := k.PublicObject()
	if err != nil {
		return nil, iso7816.Aborted
	}
	c.state.Keys[s] = k
	return iso7816.TLV(tagPublicKey, pub), c.save()
}

func (c *Card) readTemplate(s slot, data []byte) (*pivkey.Key, bool) {
	outer, err := iso7816.ParseTLV(data)
	if err != nil {
		return nil, false
	}
	template, ok := outer.Only(tagTemplate)
	if !ok {
		return nil, false
	}
	o, err := iso7816.ParseTLV(template)
	if err != nil {
		return nil, false
	}
	alg, ok := o.Find(tagAlgorithm)
	if !ok || len(alg) != 1 || !c.profile.supports(pivkey.Alg(alg[0])) {
		return nil, false
	}
	pin, touch, ok := policies(s, o)
	return &pivkey.Key{Alg: pivkey.Alg(alg[0]), PIN: pin, Touch: touch, Origin: pivkey.Generated}, ok
}

// importKey is Yubico's IMPORT ASYMMETRIC KEY.
func (c *Card) importKey(cmd iso7816.Command) iso7816.SW {
	s, alg := slot(cmd.P2), pivkey.Alg(cmd.P1)
	if !s.valid() {
		return iso7816.WrongP1P2
	}
	if !c.session.managed {
		return iso7816.NotSatisfied
	}
	o, err := iso7816.ParseTLV(cmd.Data)
	if err != nil || !c.profile.supports(alg) {
		return iso7816.WrongData
	}
	pin, touch, ok := policies(s, o)
	if !ok {
		return iso7816.WrongData
	}
	key, err := pivkey.FromParts(alg, o)
	if err != nil {
		return iso7816.WrongData
	}
	c.state.Keys[s] = &pivkey.Key{Alg: alg, PIN: pin, Touch: touch, Origin: pivkey.Imported, Private: key}
	return c.save()
}

// deleteTarget as P1 of MOVE KEY deletes the key.
const deleteTarget = 0xff

// moveKey is MOVE KEY and DELETE KEY, from firmware 5.7 on.
func (c *Card) moveKey(cmd iso7816.Command) iso7816.SW {
	from, to := slot(cmd.P2), slot(cmd.P1)
	if !c.profile.moveKeys {
		return iso7816.UnknownInstruction
	}
	moving := cmd.P1 != deleteTarget
	if !from.valid() || moving && (!to.valid() || from == slotAttestation || to == slotAttestation) {
		return iso7816.WrongP1P2
	}
	if !c.session.managed {
		return iso7816.NotSatisfied
	}
	k := c.state.Keys[from]
	if k == nil {
		return iso7816.ReferenceNotFound
	}
	if moving && c.state.Keys[to] != nil {
		return iso7816.WrongData
	}
	delete(c.state.Keys, from)
	if moving {
		c.state.Keys[to] = k
	}
	return c.save()
}

// Objects of GET METADATA.
const (
	metaAlgorithm = 0x01
	metaPolicy    = 0x02
	metaOrigin    = 0x03
	metaPublic    = 0x04
	metaDefault   = 0x05
	metaRetries   = 0x06
	metaPINType   = 0xff
)

// metadata is Yubico's GET METADATA, from firmware 5.3 on.
func (c *Card) metadata(cmd iso7816.Command) ([]byte, iso7816.SW) {
	if cmd.P1 != 0 || len(cmd.Data) != 0 {
		return nil, iso7816.WrongP1P2
	}
	switch cmd.P2 {
	case refPIN:
		return c.secretMetadata(&c.state.PIN, factoryPIN), iso7816.OK
	case refPUK:
		return c.secretMetadata(&c.state.PUK, factoryPUK), iso7816.OK
	case byte(slotManagement):
		m := &c.state.Management
		return join(
			iso7816.TLV(metaAlgorithm, []byte{byte(m.Alg)}),
			iso7816.TLV(metaPolicy, []byte{0, byte(m.Touch)}),
			iso7816.TLV(metaDefault, flag(m.isDefault())),
		), iso7816.OK
	}
	k := c.state.Keys[slot(cmd.P2)] // none of 96 too, where clients ask for biometrics
	if k == nil {
		return nil, iso7816.ReferenceNotFound
	}
	pub, err := k.PublicObject()
	if err != nil {
		return nil, iso7816.Aborted
	}
	return join(
		iso7816.TLV(metaAlgorithm, []byte{byte(k.Alg)}),
		iso7816.TLV(metaPolicy, []byte{byte(k.PIN), byte(k.Touch)}),
		iso7816.TLV(metaOrigin, []byte{byte(k.Origin)}),
		iso7816.TLV(metaPublic, pub),
	), iso7816.OK
}

func (c *Card) secretMetadata(s *secret, factory string) []byte {
	return join(
		iso7816.TLV(metaAlgorithm, []byte{metaPINType}),
		iso7816.TLV(metaDefault, flag(string(s.Value) == string(newSecret(factory, 1).Value))),
		iso7816.TLV(metaRetries, []byte{byte(s.Max), byte(s.Tries)}),
	)
}

func flag(b bool) []byte {
	if b {
		return []byte{1}
	}
	return []byte{0}
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
