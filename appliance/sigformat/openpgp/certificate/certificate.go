// Package certificate makes and reads OpenPGP certificates (RFC 9580 §10.1.1) of tokens'
// keys: key, user id, self-signatures, and what administrators have a key say of itself
// later: renewals, a revocation, that it agrees to be another's subkey.
//
// Exactly one serialisation exists for given facts, and Parse verifies every signature in
// what it reads. The package is pure; the format is kept. docs/spec/signature.md §5 draws
// the bytes.
package certificate

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

const (
	// MaxBytes bounds a certificate, as entries and trust files do
	// (docs/spec/ledger.md §1): an RSA-4096 key, a user id of MaxUserID bytes,
	// their self-signature and at least five renewals stay under it.
	MaxBytes = 8 << 10

	// MaxUserID is what fits into a packet with a one-byte length, which is
	// also more than any display shows.
	MaxUserID = 200
)

// Certificate is an OpenPGP certificate of the profile (RFC 9580 §10.1.1): key,
// user id, the self-signature that both were made with, and what administrators
// had the key say of itself since (Certification).
type Certificate struct {
	Key     *signing.Key
	UserID  string
	Family  string    // of the key: what its signatures are for; empty if the certificate is bare
	Expires time.Time // of the key; zero: never
	Revoked bool
	Code    Reason // of the revocation

	// Bound is the newest agreement to be another's subkey, nil if there is none. It
	// is no part of this certificate, and a parsed one has none.
	Bound *subkey.Binding

	newest     time.Time // creation of the newest self-signature
	selfs      []byte    // self-signature packets, oldest first
	revocation []byte    // packet, nil if there is none
}

// Terms are what a certificate says beside key and user id.
type Terms struct {
	Expires time.Time // of the key; zero: never
	Family  string    // of the key: sigformat.FamilyOpenPGP, empty is that too, or sigformat.FamilyInToto
	Origin  string    // of the log; not looked at for sigformat.FamilyOpenPGP
}

// New makes the certificate of a token key of family openpgp-data that
// never expires: primary key, user id and positive self-certification, with SHA-256,
// at the key's creation time. sign has the token sign the digest and returns what
// signing.Plan.Finish takes.
func New(k *signing.Key, uid string, sign func(digest []byte, h crypto.Hash) ([]byte, error)) ([]byte, error) {
	return NewWithTerms(k, uid, Terms{}, sign)
}

// NewWithTerms is New with terms.
func NewWithTerms(k *signing.Key, uid string, t Terms, sign func(digest []byte, h crypto.Hash) ([]byte, error)) ([]byte, error) {
	if err := CheckUserID(uid); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(t.Origin, "/")
	note, err := familyNotation(host, t.Family)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	p, err := planSelf(k, uid, t.Expires, note)
	if err != nil {
		return nil, err
	}
	raw, err := sign(p.Digest, p.Alg.Hash())
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		return nil, err
	}
	return (&Certificate{Key: k, UserID: uid, selfs: sig}).Bytes(), nil
}

// NewBare is that of a key that is for no OpenPGP signatures: the public
// key packet and nothing else, so that no OpenPGP tool takes it for a certificate
// and the key has made no certification.
func NewBare(k *signing.Key) []byte { return (&Certificate{Key: k}).Bytes() }

// Bare reports whether the certificate is of a key for no OpenPGP signatures.
func (c *Certificate) Bare() bool { return c.UserID == "" }

// Fresh reports whether the key has said nothing of itself since it was made.
func (c *Certificate) Fresh() bool {
	return c.Bare() || !c.Revoked && c.newest.Equal(c.Key.Created)
}

// Fits says why the certificate is not one for keys of a family, nil if it is.
func (c *Certificate) Fits(family string) error {
	certified := sigformat.Certified(family, c.Key.Algorithm())
	switch {
	case c.Bare() && certified:
		return fmt.Errorf("a %s key of family %s needs a certificate with a user id", c.Key.Algorithm(), family)
	case !c.Bare() && !certified:
		return fmt.Errorf("a %s key of family %s has made OpenPGP certifications", c.Key.Algorithm(), family)
	case !c.Bare() && c.Family != family:
		return fmt.Errorf("the certificate says that the key is of family %s, not %s", c.Family, family)
	}
	return nil
}

// Bytes is the binary certificate. gpg and Sequoia judge a file signature by
// the self-signature that was the newest when it was made, so all are kept.
func (c *Certificate) Bytes() []byte {
	b := packet.Append(nil, packet.TagPublicKey, c.Key.Body())
	if c.Bare() {
		return b
	}
	b = append(b, c.revocation...)
	b = packet.Append(b, packet.TagUserID, []byte(c.UserID))
	return append(b, c.selfs...)
}

// planSelf plans the self-signature that a certificate is made with; the key
// expires then, zero is never. note is empty, or says the key's family.
func planSelf(k *signing.Key, uid string, expires time.Time, note []byte) (*signing.Plan, error) {
	area, err := openpgp.Area(k, k.Created)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: creation %w", err)
	}
	if !expires.IsZero() {
		left, err := lifetime(k, k.Created, expires)
		if err != nil {
			return nil, fmt.Errorf("openpgp certificate: %w", err)
		}
		area = packet.AppendSubpacket(area, packet.SubExpires, left...)
	}
	if area = appendPreferences(area); len(note) > 0 {
		area = packet.AppendSubpacket(area, packet.SubNotation, note...)
	}
	return openpgp.Plan(k, openpgp.TypeCertification, k.CertAlg(), certHash(k, uid), area), nil
}

// familyNotation is the body of the notation that tells keys for in-toto's metadata
// from those for files (docs/spec/signature.md §5). Keys for files have none.
func familyNotation(host, family string) ([]byte, error) {
	switch family {
	case "", sigformat.FamilyOpenPGP:
		return nil, nil
	case sigformat.FamilyInToto:
		return openpgp.NotationOf("family@"+host, family), message.ValidOrigin(host + "/x")
	}
	return nil, fmt.Errorf("keys of family %s have no certificate", family)
}

// parseFamily is the inverse of familyNotation.
func parseFamily(note []byte) (host, family string) {
	if name, value, ok := openpgp.CutNotation(note); ok {
		host, family = strings.TrimPrefix(name, "family@"), value
	}
	return host, family
}

// appendPreferences adds what each self-signature says of the key's use.
func appendPreferences(b []byte) []byte {
	b = packet.AppendSubpacket(b, packet.SubKeyFlags, 0x03)    // certify and sign
	b = packet.AppendSubpacket(b, packet.SubCiphers, 9, 8, 7)  // AES-256, -192, -128
	b = packet.AppendSubpacket(b, packet.SubHashes, 10, 9, 8)  // SHA-512, -384, -256
	b = packet.AppendSubpacket(b, packet.SubCompression, 2, 1) // zlib, zip
	return packet.AppendSubpacket(b, packet.SubFeatures, 1)
}

// certHash starts the hash of a certification (RFC 9580 §5.2.4).
func certHash(k *signing.Key, uid string) hash.Hash {
	h := keyHash(k)
	h.Write(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(uid))))
	h.Write([]byte(uid))
	return h
}

// keyHash starts the hash of a signature over the key alone.
func keyHash(k *signing.Key) hash.Hash {
	h := k.CertAlg().Hash().New()
	h.Write(signing.Hashed(k.Body()))
	return h
}

// Parse reads a binary certificate of the profile and verifies every
// signature in it.
func Parse(cert []byte) (*Certificate, error) {
	c, err := parse(cert)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	return c, nil
}

func parse(cert []byte) (*Certificate, error) {
	if len(cert) > MaxBytes {
		return nil, errors.New("longer than any certificate of the profile")
	}
	body, rest, err := packet.Cut(cert, packet.TagPublicKey)
	if err != nil {
		return nil, err
	}
	k, err := signing.ParseKey(body)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return &Certificate{Key: k}, nil
	}
	revocation, rest := packet.Take(rest, packet.TagSignature)
	uid, rest, err := packet.Cut(rest, packet.TagUserID)
	if err != nil {
		return nil, err
	}
	if err := CheckUserID(string(uid)); err != nil {
		return nil, err
	}
	self, rest := packet.Take(rest, packet.TagSignature)
	c, err := first(k, string(uid), self)
	if err != nil {
		return nil, err
	}
	return c.withAll(rest, revocation)
}

// first is the one that New made, of its parts.
func first(k *signing.Key, uid string, self []byte) (*Certificate, error) {
	expires, note, err := saidOfSelf(k, self)
	if err != nil {
		return nil, fmt.Errorf("self-signature: %w", err)
	}
	c := &Certificate{Key: k, UserID: uid, Family: sigformat.FamilyOpenPGP, Expires: expires, newest: k.Created, selfs: bytes.Clone(self)}
	if len(note) > 0 {
		var host string
		host, c.Family = parseFamily(note)
		if note, err = familyNotation(host, c.Family); err != nil {
			return nil, fmt.Errorf("self-signature: %w", err)
		}
	}
	p, err := planSelf(k, uid, expires, note)
	if err != nil {
		return nil, err
	}
	if err := p.Verify(self); err != nil {
		return nil, fmt.Errorf("self-signature: %w", err)
	}
	return c, nil
}

// saidOfSelf is what a self-signature says of the expiry, zero for never, and the
// body of its notation. The rest of it is not looked at.
func saidOfSelf(k *signing.Key, self []byte) (expires time.Time, note []byte, err error) {
	said, _, err := openpgp.Open(self, openpgp.TypeCertification)
	if err != nil {
		return expires, nil, err
	}
	area := said.Rest
	if b, rest, err := packet.CutSubpacket(area, packet.SubExpires); err == nil && len(b) == 4 {
		expires, area = after(k, b), rest
	}
	area = area[min(len(area), len(appendPreferences(nil))):]
	if b, _, err := packet.CutSubpacket(area, packet.SubNotation); err == nil {
		note = b
	}
	return expires, note, nil
}

// withAll adds renewals, one behind the other, and a revocation.
func (c *Certificate) withAll(renewals, revocation []byte) (*Certificate, error) {
	for len(renewals) > 0 {
		var sig []byte
		if sig, renewals = packet.Take(renewals, packet.TagSignature); sig == nil {
			return nil, errors.New("something else behind the self-signatures")
		}
		next, err := c.withParsed(sig, openpgp.TypeCertification)
		if err != nil {
			return nil, fmt.Errorf("renewal: %w", err)
		}
		c = next
	}
	if revocation == nil {
		return c, nil
	}
	next, err := c.withParsed(revocation, openpgp.TypeRevocation)
	if err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	return next, nil
}

// CheckUserID accepts one line of printable text without spaces around it.
func CheckUserID(uid string) error {
	if len(uid) > MaxUserID || !message.ValidHuman(uid) || strings.TrimSpace(uid) != uid {
		return fmt.Errorf("user id %q: want 1 to %d bytes of printable text such as \"Name <mail@example.org>\"", uid, MaxUserID)
	}
	return nil
}
