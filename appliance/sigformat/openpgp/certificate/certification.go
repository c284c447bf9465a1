package certificate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// Reason says why a key was revoked (RFC 9580 §5.2.3.31).
type Reason byte

// The reasons of the profile. Tools take the first and the third to mean that
// no signature by the key can be trusted, whenever it was made.
const (
	NoReason    Reason = 0
	Superseded  Reason = 1
	Compromised Reason = 2
	Retired     Reason = 3
)

// Hard reports whether signatures from before the revocation are lost as well.
func (r Reason) Hard() bool { return r == NoReason || r == Compromised }

// Words says what a revocation for this reason means to whoever relies on the key.
func (r Reason) Words() string {
	switch r {
	case NoReason:
		return "no reason is given, and NO SIGNATURE by it is trusted any more, whenever it was made"
	case Superseded:
		return "another key takes its place; signatures from before stay good"
	case Compromised:
		return "somebody else may have it, and NO SIGNATURE by it is trusted any more, whenever it was made"
	case Retired:
		return "it is out of use; signatures from before stay good"
	}
	return fmt.Sprintf("for a reason that is not known here, code %d", r)
}

// Certification is what administrators have a key say of itself: a renewal,
// which moves the expiry, a revocation, or that it agrees to be the signing subkey
// of a primary, which changes nothing in its own certificate.
type Certification struct {
	Created time.Time       // of the signature: the time of its log entry, whole seconds
	Primary *subkey.Primary // that it agrees to; nil for the others
	Revoke  bool
	Expires time.Time // renewal: when the key expires, zero for never
	Code    Reason    // revocation
	Origin  string    // of the log
	Order   message.JobID
}

// Why a key can sign no more.
var (
	ErrRevoked = errors.New("the key was revoked")
	ErrExpired = errors.New("the key has expired")
)

// ErrTooEarly is a renewal no later than the newest self-signature, which tools
// would go on to believe: a later one is possible.
var ErrTooEarly = errors.New("its time is not after that of the newest self-signature")

// Usable is ErrRevoked or ErrExpired if nobody would accept a signature that
// the key makes at this time.
func (c *Certificate) Usable(at time.Time) error {
	switch {
	case c.Revoked:
		return ErrRevoked
	case !c.Expires.IsZero() && !at.Before(c.Expires):
		return ErrExpired
	}
	return nil
}

// Standing says in words what is to be known of the certificate at this time; empty if
// it is good and never expires.
func (c *Certificate) Standing(at time.Time) string {
	switch {
	case c.Revoked:
		return "REVOKED: " + c.Code.Words()
	case c.Expires.IsZero():
		return ""
	case !at.Before(c.Expires):
		return "EXPIRED at " + c.Expires.UTC().Format(time.RFC3339) + ": nobody takes a signature that it made later"
	}
	return "valid until " + c.Expires.UTC().Format(time.RFC3339)
}

// Plan plans a certification: its digest is what the token signs. An error
// says why the key cannot say this; with it the order has no sense.
func (c *Certificate) Plan(x Certification) (*signing.Plan, error) {
	p, err := c.plan(x)
	if err != nil {
		return nil, fmt.Errorf("openpgp certification: %w", err)
	}
	return p, nil
}

func (c *Certificate) plan(x Certification) (*signing.Plan, error) {
	switch {
	case c.Revoked:
		return nil, ErrRevoked
	case c.Bare():
		return nil, errors.New("the key is for no OpenPGP signatures and has no certificate")
	}
	area, err := openpgp.Area(c.Key, x.Created)
	if err != nil {
		return nil, err
	}
	note, err := openpgp.Notation(x.Origin, x.Order)
	if err != nil {
		return nil, err
	}
	switch {
	case x.Primary != nil:
		return c.planBinding(x)
	case x.Revoke:
		return c.planRevocation(x, area, note)
	}
	return c.planRenewal(x, area, note)
}

func (c *Certificate) planBinding(x Certification) (*signing.Plan, error) {
	if x.Revoke || x.Code != 0 || !x.Expires.IsZero() {
		return nil, errors.New("a key agrees to a primary and says nothing else")
	}
	return subkey.Plan(c.Key, x.Primary, x.Created, x.Origin, x.Order)
}

func (c *Certificate) planRevocation(x Certification, area, note []byte) (*signing.Plan, error) {
	switch {
	case x.Code > Retired || !x.Expires.IsZero():
		return nil, fmt.Errorf("a revocation has a code from 0 to %d and no expiry", Retired)
	case x.Created.Before(c.Key.Created):
		return nil, errors.New("its time is before the key's creation")
	}
	area = packet.AppendSubpacket(area, packet.SubReason, byte(x.Code))
	area = packet.AppendSubpacket(area, packet.SubNotation, note...)
	return openpgp.Plan(c.Key, openpgp.TypeRevocation, c.Key.CertAlg(), keyHash(c.Key), area), nil
}

func (c *Certificate) planRenewal(x Certification, area, note []byte) (*signing.Plan, error) {
	switch {
	case x.Code != 0:
		return nil, errors.New("a renewal has no code")
	case !x.Created.After(c.newest):
		return nil, fmt.Errorf("%w, %s, which tools would go on to believe", ErrTooEarly, c.newest.UTC().Format(time.RFC3339))
	case len(c.Bytes())+2*openpgp.MaxSignature > MaxBytes:
		return nil, errors.New("the certificate is full: it can be revoked, no more renewed")
	}
	if !x.Expires.IsZero() {
		left, err := lifetime(c.Key, x.Created, x.Expires)
		if err != nil {
			return nil, err
		}
		area = packet.AppendSubpacket(area, packet.SubExpires, left...)
	}
	area = packet.AppendSubpacket(appendPreferences(area), packet.SubNotation, note...)
	return openpgp.Plan(c.Key, openpgp.TypeCertification, c.Key.CertAlg(), certHash(c.Key, c.UserID), area), nil
}

// lifetime encodes an expiry as a signature of that time has it: seconds since the
// key's creation (RFC 9580 §5.2.3.13).
func lifetime(k *signing.Key, signed, expires time.Time) ([]byte, error) {
	seconds := expires.Unix() - k.Created.Unix()
	if expires.Nanosecond() != 0 || !expires.After(signed) || seconds > math.MaxUint32 {
		return nil, fmt.Errorf("expiry %s is not in whole seconds, after the certification and within 136 years of the key", expires.UTC().Format(time.RFC3339Nano))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(seconds)), nil
}

// after decodes what lifetime encodes.
func after(k *signing.Key, lifetime []byte) time.Time {
	return k.Created.Add(time.Duration(binary.BigEndian.Uint32(lifetime)) * time.Second)
}

// With is the certificate with a certification that the key signed: sig is the
// packet that Plan(x).Finish made, byte for byte but for the signature value.
func (c *Certificate) With(x Certification, sig []byte) (*Certificate, error) {
	p, err := c.plan(x)
	if err == nil {
		err = p.Verify(sig)
	}
	if err != nil {
		return nil, fmt.Errorf("openpgp certification: %w", err)
	}
	next := *c
	if x.Primary != nil {
		next.Bound = &subkey.Binding{Primary: x.Primary, Key: c.Key, Agreed: slices.Clone(sig)}
		return &next, nil
	}
	if x.Revoke {
		next.Revoked, next.Code, next.revocation = true, x.Code, slices.Clone(sig)
		return &next, nil
	}
	next.Expires, next.newest = x.Expires, x.Created.UTC()
	next.selfs = slices.Concat(c.selfs, sig)
	return &next, nil
}

// withParsed is With for a certification that a packet alone tells of.
func (c *Certificate) withParsed(sig []byte, kind byte) (*Certificate, error) {
	said, _, err := openpgp.Open(sig, kind)
	if err != nil {
		return nil, err
	}
	x, err := c.parse(said, kind == openpgp.TypeRevocation)
	if err != nil {
		return nil, err
	}
	return c.With(x, sig)
}

// parse takes from a packet what Plan would make it of. What it passes over Plan
// makes again, and With compares.
func (c *Certificate) parse(said *openpgp.Said, revoke bool) (x Certification, err error) {
	x.Revoke, x.Created = revoke, said.Created
	area := said.Rest
	if b, rest, err := packet.CutSubpacket(area, packet.SubExpires); err == nil && len(b) == 4 {
		x.Expires, area = after(c.Key, b), rest
	}
	if b, rest, err := packet.CutSubpacket(area, packet.SubReason); err == nil && len(b) == 1 {
		x.Code, area = Reason(b[0]), rest
	}
	if !revoke {
		area = area[min(len(area), len(appendPreferences(nil))):]
	}
	note, _, err := packet.CutSubpacket(area, packet.SubNotation)
	if err != nil {
		return x, fmt.Errorf("notation: %w", err)
	}
	x.Origin, x.Order, err = openpgp.ParseNotation(note)
	return x, err
}
