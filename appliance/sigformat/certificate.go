package sigformat

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"touchmark/hostlink/message"
)

// Certificate is an OpenPGP certificate of the profile (RFC 9580 §10.1.1): key,
// user id, the self-signature that both were made with, and what administrators
// had the key say of itself since (Certification).
type Certificate struct {
	Key     *Key
	UserID  string
	Family  string    // of the key: what its signatures are for; empty if the certificate is bare
	Expires time.Time // of the key; zero: never
	Revoked bool
	Code    Reason // of the revocation

	// Bound is the newest agreement to be another's subkey, nil if there is none. It
	// is no part of this certificate, and a parsed one has none.
	Bound *Binding

	newest     time.Time // creation of the newest self-signature
	selfs      []byte    // self-signature packets, oldest first
	revocation []byte    // packet, nil if there is none
}

// Terms are what a certificate says beside key and user id.
type Terms struct {
	Expires time.Time // of the key; zero: never
	Family  string    // of the key: FamilyOpenPGP, empty is that too, or FamilyInToto
	Origin  string    // of the log; not looked at for FamilyOpenPGP
}

// NewCertificate makes the certificate of a token key of family openpgp-data that
// never expires: primary key, user id and positive self-certification, with SHA-256,
// at the key's creation time. sign has the token sign the digest and returns what
// Plan.Finish takes.
func NewCertificate(k *Key, uid string, sign func(digest []byte, h crypto.Hash) ([]byte, error)) ([]byte, error) {
	return NewCertificateOf(k, uid, Terms{}, sign)
}

// NewCertificateOf is NewCertificate with terms.
func NewCertificateOf(k *Key, uid string, t Terms, sign func(digest []byte, h crypto.Hash) ([]byte, error)) ([]byte, error) {
	if err := CheckUserID(uid); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(t.Origin, "/")
	note, err := familyNotation(host, t.Family)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	p, err := k.planSelf(uid, t.Expires, note)
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

// BareCertificate is that of a key that is for no OpenPGP signatures: the public
// key packet and nothing else, so that no OpenPGP tool takes it for a certificate
// and the key has made no certification.
func BareCertificate(k *Key) []byte { return (&Certificate{Key: k}).Bytes() }

// Bare reports whether the certificate is of a key for no OpenPGP signatures.
func (c *Certificate) Bare() bool { return c.UserID == "" }

// Fresh reports whether the key has said nothing of itself since it was made.
func (c *Certificate) Fresh() bool {
	return c.Bare() || !c.Revoked && c.newest.Equal(c.Key.Created)
}

// Fits says why the certificate is not one for keys of a family, nil if it is.
func (c *Certificate) Fits(family string) error {
	certified := Certified(family, c.Key.name)
	switch {
	case c.Bare() && certified:
		return fmt.Errorf("a %s key of family %s needs a certificate with a user id", c.Key.name, family)
	case !c.Bare() && !certified:
		return fmt.Errorf("a %s key of family %s has made OpenPGP certifications", c.Key.name, family)
	case !c.Bare() && c.Family != family:
		return fmt.Errorf("the certificate says that the key is of family %s, not %s", c.Family, family)
	}
	return nil
}

// Bytes is the binary certificate. gpg and Sequoia judge a file signature by
// the self-signature that was the newest when it was made, so all are kept.
func (c *Certificate) Bytes() []byte {
	b := appendPacket(nil, tagPublicKey, c.Key.body)
	if c.Bare() {
		return b
	}
	b = append(b, c.revocation...)
	b = appendPacket(b, tagUserID, []byte(c.UserID))
	return append(b, c.selfs...)
}

// planSelf plans the self-signature that a certificate is made with; the key
// expires then, zero is never. note is empty, or says the key's family.
func (k *Key) planSelf(uid string, expires time.Time, note []byte) (*Plan, error) {
	area, err := k.originArea(k.Created)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: creation %w", err)
	}
	if !expires.IsZero() {
		left, err := k.lifetime(k.Created, expires)
		if err != nil {
			return nil, fmt.Errorf("openpgp certificate: %w", err)
		}
		area = appendSubpacket(area, subExpires, left...)
	}
	if area = appendPreferences(area); len(note) > 0 {
		area = appendSubpacket(area, subNotation, note...)
	}
	return k.plan(typeCertification, k.certAlg(), k.certHash(uid), area), nil
}

// familyNotation is the body of the notation that tells keys for in-toto's metadata
// from those for files (docs/spec/signature.md §5). Keys for files have none.
func familyNotation(host, family string) ([]byte, error) {
	switch family {
	case "", FamilyOpenPGP:
		return nil, nil
	case FamilyInToto:
		return notationOf("family@"+host, family), message.ValidOrigin(host + "/x")
	}
	return nil, fmt.Errorf("keys of family %s have no certificate", family)
}

// parseFamily is the inverse of familyNotation.
func parseFamily(note []byte) (host, family string) {
	if name, value, ok := cutNotation(note); ok {
		host, family = strings.TrimPrefix(name, "family@"), value
	}
	return host, family
}

// originArea begins the hashed subpackets of every signature: when and by whom.
func (k *Key) originArea(created time.Time) ([]byte, error) {
	stamp, err := stampOf(created)
	if err != nil {
		return nil, err
	}
	b := appendSubpacket(nil, subCreated, stamp...)
	return appendSubpacket(b, subFingerprint, append([]byte{4}, k.fingerprint[:]...)...), nil
}

// appendPreferences adds what each self-signature says of the key's use.
func appendPreferences(b []byte) []byte {
	b = appendSubpacket(b, subKeyFlags, 0x03)    // certify and sign
	b = appendSubpacket(b, subCiphers, 9, 8, 7)  // AES-256, -192, -128
	b = appendSubpacket(b, subHashes, 10, 9, 8)  // SHA-512, -384, -256
	b = appendSubpacket(b, subCompression, 2, 1) // zlib, zip
	return appendSubpacket(b, subFeatures, 1)
}

// certHash starts the hash of a certification (RFC 9580 §5.2.4).
func (k *Key) certHash(uid string) hash.Hash {
	h := k.keyHash()
	h.Write(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(uid))))
	h.Write([]byte(uid))
	return h
}

// keyHash starts the hash of a signature over the key alone.
func (k *Key) keyHash() hash.Hash {
	h := NewHasher(k.certAlg()).h
	h.Write(k.hashed())
	return h
}

// ParseCertificate reads a binary certificate of the profile and verifies every
// signature in it.
func ParseCertificate(cert []byte) (*Certificate, error) {
	c, err := parseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	return c, nil
}

func parseCertificate(cert []byte) (*Certificate, error) {
	if len(cert) > MaxCertificate {
		return nil, errors.New("longer than any certificate of the profile")
	}
	body, rest, err := cutPacket(cert, tagPublicKey)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(body)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return &Certificate{Key: k}, nil
	}
	revocation, rest := takePacket(rest, tagSignature)
	uid, rest, err := cutPacket(rest, tagUserID)
	if err != nil {
		return nil, err
	}
	if err := CheckUserID(string(uid)); err != nil {
		return nil, err
	}
	self, rest := takePacket(rest, tagSignature)
	c, err := k.certificate(string(uid), self)
	if err != nil {
		return nil, err
	}
	return c.withAll(rest, revocation)
}

// certificate is the one that NewCertificate made, of its parts.
func (k *Key) certificate(uid string, self []byte) (*Certificate, error) {
	expires, note, err := k.saidOfSelf(self)
	if err != nil {
		return nil, fmt.Errorf("self-signature: %w", err)
	}
	c := &Certificate{Key: k, UserID: uid, Family: FamilyOpenPGP, Expires: expires, newest: k.Created, selfs: bytes.Clone(self)}
	if len(note) > 0 {
		var host string
		host, c.Family = parseFamily(note)
		if note, err = familyNotation(host, c.Family); err != nil {
			return nil, fmt.Errorf("self-signature: %w", err)
		}
	}
	p, err := k.planSelf(uid, expires, note)
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
func (k *Key) saidOfSelf(self []byte) (expires time.Time, note []byte, err error) {
	body, _, err := cutPacket(self, tagSignature)
	if err != nil {
		return expires, nil, err
	}
	var f fields
	if _, err := f.parse(body, typeCertification); err != nil {
		return expires, nil, err
	}
	_, _, area, err := cutOrigin(f.area)
	if err != nil {
		return expires, nil, err
	}
	if b, rest, err := cutSubpacket(area, subExpires); err == nil && len(b) == 4 {
		expires, area = k.after(b), rest
	}
	area = area[min(len(area), len(appendPreferences(nil))):]
	if b, _, err := cutSubpacket(area, subNotation); err == nil {
		note = b
	}
	return expires, note, nil
}

// withAll adds renewals, one behind the other, and a revocation.
func (c *Certificate) withAll(renewals, revocation []byte) (*Certificate, error) {
	for len(renewals) > 0 {
		var sig []byte
		if sig, renewals = takePacket(renewals, tagSignature); sig == nil {
			return nil, errors.New("something else behind the self-signatures")
		}
		next, err := c.withParsed(sig, typeCertification)
		if err != nil {
			return nil, fmt.Errorf("renewal: %w", err)
		}
		c = next
	}
	if revocation == nil {
		return c, nil
	}
	next, err := c.withParsed(revocation, typeRevocation)
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
