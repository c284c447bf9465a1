// Package subkey is how a token's key becomes the signing subkey of a primary key that is
// kept elsewhere: the key's own word that it agrees, and the request that the primary's
// owner gets. docs/spec/signature.md §5.2 draws the bytes. The package is pure.
package subkey

import (
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// MaxPrimary bounds the packet body of a primary key that is kept elsewhere: one
// of RSA-8192 has 1037 bytes.
const MaxPrimary = 1100

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
	return &Primary{slices.Clone(body), signing.FingerprintOf(body)}, nil
}

// Body is what ParsePrimary takes.
func (p *Primary) Body() []byte { return p.body }

// Fingerprint is that of RFC 9580 §5.5.4.2.
func (p *Primary) Fingerprint() [20]byte { return p.fingerprint }

// Plan plans the primary key binding signature (RFC 9580 §5.2.1.9): the key agrees to be a
// subkey of a primary. created is in whole seconds, not before the key's creation; origin
// and order go into a notation.
func Plan(k *signing.Key, p *Primary, created time.Time, origin string, order message.JobID) (*signing.Plan, error) {
	area, err := openpgp.Area(k, created)
	if err != nil {
		return nil, err
	}
	note, err := openpgp.Notation(origin, order)
	switch {
	case err != nil:
		return nil, err
	case created.Before(k.Created):
		return nil, errors.New("its time is before the key's creation")
	case p.fingerprint == k.Fingerprint():
		return nil, errors.New("a key is no subkey of itself")
	}
	area = packet.AppendSubpacket(area, packet.SubNotation, note...)
	return openpgp.Plan(k, openpgp.TypeBinding, k.CertAlg(), startHash(k, p), area), nil
}

// startHash starts the hash of a signature over a primary and this key below it.
func startHash(k *signing.Key, p *Primary) hash.Hash {
	h := k.CertAlg().Hash().New()
	h.Write(signing.Hashed(p.body))
	h.Write(signing.Hashed(k.Body()))
	return h
}

// Binding is what a primary's owner needs to take a token's key for a signing
// subkey: the key, and the key's word that it agrees.
type Binding struct {
	Primary *Primary
	Key     *signing.Key
	Agreed  []byte // primary key binding signature packet, by the key
}

// Bytes are three packets: the primary's public key, the subkey, the key's signature.
func (b *Binding) Bytes() []byte {
	out := packet.Append(nil, packet.TagPublicKey, b.Primary.body)
	return append(append(out, b.Subkey()...), b.Agreed...)
}

// Subkey is the key's packet below a primary.
func (b *Binding) Subkey() []byte { return packet.Append(nil, packet.TagSubkey, b.Key.Body()) }

// ParseBinding reads what Bytes writes, and verifies that the key agreed.
func ParseBinding(raw []byte) (*Binding, error) {
	b, err := parseBinding(raw)
	if err != nil {
		return nil, fmt.Errorf("binding request: %w", err)
	}
	return b, nil
}

func parseBinding(raw []byte) (*Binding, error) {
	body, rest, err := packet.Cut(raw, packet.TagPublicKey)
	if err != nil {
		return nil, err
	}
	p, err := ParsePrimary(body)
	if err != nil {
		return nil, err
	}
	body, rest, err = packet.Cut(rest, packet.TagSubkey)
	if err != nil {
		return nil, err
	}
	k, err := signing.ParseKey(body)
	if err != nil {
		return nil, err
	}
	b := &Binding{p, k, rest}
	return b, b.verify()
}

// verify makes the key's signature again from what it says, but for its value.
func (b *Binding) verify() error {
	said, _, err := openpgp.Open(b.Agreed, openpgp.TypeBinding)
	if err != nil {
		return err
	}
	note, _, err := packet.CutSubpacket(said.Rest, packet.SubNotation)
	if err != nil {
		return fmt.Errorf("notation: %w", err)
	}
	origin, order, err := openpgp.ParseNotation(note)
	if err != nil {
		return err
	}
	plan, err := Plan(b.Key, b.Primary, said.Created, origin, order)
	if err != nil {
		return err
	}
	return plan.Verify(b.Agreed)
}

// ReadPrimary takes the primary key from a certificate, binary or armored, in either
// packet format (RFC 9580 §4.2): the first packet. Nothing else in it is looked at.
func ReadPrimary(cert []byte) (*Primary, error) {
	if raw, err := openpgp.Dearmor(cert); err == nil {
		cert = raw
	}
	body, err := packet.First(cert, packet.TagPublicKey)
	if err != nil {
		return nil, fmt.Errorf("primary key: %w", err)
	}
	return ParsePrimary(body)
}
