package sigformat

import (
	"errors"
	"fmt"
	"hash"
	"slices"
)

// Primary is the public half of an OpenPGP primary key that is kept elsewhere, and
// that a token's key shall be a signing subkey of.
type Primary struct {
	body        []byte // of its packet
	fingerprint [20]byte
}

// primaryAlgorithms are the public key algorithms that can certify (RFC 9580 §9.1):
// RSA, ECDSA, EdDSA of before and Ed25519.
var primaryAlgorithms = []byte{1, 19, 22, 27}

// ParsePrimary takes the body of a version 4 public key packet. What it says of the
// key is not looked at: the key's own signature is what a subkey needs.
func ParsePrimary(body []byte) (*Primary, error) {
	if len(body) < 8 || len(body) > MaxPrimary || body[0] != 4 || !slices.Contains(primaryAlgorithms, body[5]) {
		return nil, fmt.Errorf("not a version 4 public key of at most %d bytes that can certify", MaxPrimary)
	}
	return &Primary{slices.Clone(body), FingerprintOf(body)}, nil
}

// Body is what ParsePrimary takes.
func (p *Primary) Body() []byte { return p.body }

// Fingerprint is that of RFC 9580 §5.5.4.2.
func (p *Primary) Fingerprint() [20]byte { return p.fingerprint }

// planBinding plans the primary key binding signature (RFC 9580 §5.2.1.9): the key
// agrees to be a subkey of a primary.
func (c *Certificate) planBinding(x Certification, area, note []byte) (*Plan, error) {
	switch {
	case x.Revoke || x.Code != 0 || !x.Expires.IsZero():
		return nil, errors.New("a key agrees to a primary and says nothing else")
	case x.Created.Before(c.Key.Created):
		return nil, errors.New("its time is before the key's creation")
	case x.Primary.fingerprint == c.Key.fingerprint:
		return nil, errors.New("a key is no subkey of itself")
	}
	area = appendSubpacket(area, subNotation, note...)
	return c.Key.plan(typeBinding, c.Key.certAlg(), c.Key.bindingHash(x.Primary), area), nil
}

// bindingHash starts the hash of a signature over a primary and this key below it.
func (k *Key) bindingHash(p *Primary) hash.Hash {
	h := NewHasher(k.certAlg()).h
	h.Write(hashedKey(p.body))
	h.Write(k.hashed())
	return h
}

// Binding is what a primary's owner needs to take a token's key for a signing
// subkey: the key, and the key's word that it agrees.
type Binding struct {
	Primary *Primary
	Key     *Key
	Agreed  []byte // primary key binding signature packet, by the key
}

// Bytes are three packets: the primary's public key, the subkey, the key's signature.
func (b *Binding) Bytes() []byte {
	out := appendPacket(nil, tagPublicKey, b.Primary.body)
	return append(append(out, b.Subkey()...), b.Agreed...)
}

// Subkey is the key's packet below a primary.
func (b *Binding) Subkey() []byte { return appendPacket(nil, tagSubkey, b.Key.body) }

// ParseBinding reads what Bytes writes, and verifies that the key agreed.
func ParseBinding(raw []byte) (*Binding, error) {
	b, err := parseBinding(raw)
	if err != nil {
		return nil, fmt.Errorf("binding request: %w", err)
	}
	return b, nil
}

func parseBinding(raw []byte) (*Binding, error) {
	body, rest, err := cutPacket(raw, tagPublicKey)
	if err != nil {
		return nil, err
	}
	p, err := ParsePrimary(body)
	if err != nil {
		return nil, err
	}
	body, rest, err = cutPacket(rest, tagSubkey)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(body)
	if err != nil {
		return nil, err
	}
	b := &Binding{p, k, rest}
	return b, b.verify()
}

// verify makes the key's signature again from what it says, but for its value.
func (b *Binding) verify() error {
	body, _, err := cutPacket(b.Agreed, tagSignature)
	if err != nil {
		return err
	}
	var f fields
	if _, err := f.parse(body, typeBinding); err != nil {
		return err
	}
	x := Certification{Primary: b.Primary}
	created, _, area, err := cutOrigin(f.area)
	if err != nil {
		return err
	}
	note, _, err := cutSubpacket(area, subNotation)
	if err != nil {
		return fmt.Errorf("notation: %w", err)
	}
	x.Created = created
	if x.Origin, x.Order, err = parseNotation(note); err != nil {
		return err
	}
	plan, err := (&Certificate{Key: b.Key, UserID: "-"}).plan(x)
	if err != nil {
		return err
	}
	return plan.Verify(b.Agreed)
}

// ReadPrimary takes the primary key from a certificate, binary or armored, in either
// packet format (RFC 9580 §4.2): the first packet. Nothing else in it is looked at.
func ReadPrimary(cert []byte) (*Primary, error) {
	if raw, err := dearmor(blockKey, string(cert)); err == nil {
		cert = raw
	}
	body, err := firstPacket(cert, tagPublicKey)
	if err != nil {
		return nil, fmt.Errorf("primary key: %w", err)
	}
	return ParsePrimary(body)
}

// firstPacket is the body of the first packet, which must be of this tag.
func firstPacket(b []byte, tag byte) ([]byte, error) {
	if body, _, err := cutPacket(b, tag); err == nil {
		return body, nil
	}
	if len(b) < 2 || b[0] != 0xc0|tag {
		return nil, errPacket
	}
	n, head := int(b[1]), 2
	if n >= 192 && n < 224 && len(b) > 2 {
		n, head = (n-192)<<8+int(b[2])+192, 3
	}
	if b[1] >= 224 || len(b) < head+n {
		return nil, errPacket
	}
	return b[head : head+n], nil
}
