// Package openpgp makes and reads OpenPGP signatures of version 4 (RFC 9580 §5.2.3), and
// the files that they stand in.
//
// The profile: type 0x00 over a file's bytes, 0x01 over canonical text, and those that a
// key makes of itself, see the packages below. Exactly one serialisation exists for given
// facts: nothing random, nothing critical, one order of subpackets. The parsers accept
// exactly this profile and nothing else. docs/spec/signature.md draws the bytes.
//
// The package is pure, and what it parses is bounded. The formats are kept: later versions
// read what this version wrote.
package openpgp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// Signature types (RFC 9580 §5.2.1) of the profile.
const (
	TypeBinary        = 0x00
	TypeText          = 0x01
	TypeCertification = 0x13
	TypeBinding       = 0x19 // a subkey agrees to its primary
	TypeRevocation    = 0x20
)

// hashIDs are the hash algorithm ids of RFC 9580 §9.5.
var hashIDs = map[message.Alg]byte{message.SHA256: 8, message.SHA384: 9, message.SHA512: 10}

func algOf(id byte) (message.Alg, bool) {
	for alg, v := range hashIDs {
		if v == id {
			return alg, true
		}
	}
	return "", false
}

// PlanFile plans a signature of type kind over the data whose state is s. The job and the
// log's origin go into a notation; created is the appliance's time in whole seconds,
// not before the key's creation.
func PlanFile(k *signing.Key, kind byte, s hashstate.State, created time.Time, origin string, job message.JobID) (*signing.Plan, error) {
	area, err := Area(k, created)
	if err != nil {
		return nil, fmt.Errorf("openpgp signature: creation %w", err)
	}
	if created.Before(k.Created) {
		return nil, fmt.Errorf("openpgp signature: time %s is before the key's creation %s",
			created.UTC().Format(time.RFC3339), k.Created.Format(time.RFC3339))
	}
	note, err := Notation(origin, job)
	if err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	area = packet.AppendSubpacket(area, packet.SubNotation, note...)
	return Plan(k, kind, s.Alg(), s.Hash(), area), nil
}

// Area begins the hashed subpackets of every signature: when and by whom. A time that is
// not one of [packet.Time] is an error.
func Area(k *signing.Key, created time.Time) ([]byte, error) {
	stamp, err := packet.Time(created)
	if err != nil {
		return nil, err
	}
	fpr := k.Fingerprint()
	b := packet.AppendSubpacket(nil, packet.SubCreated, stamp...)
	return packet.AppendSubpacket(b, packet.SubFingerprint, append([]byte{4}, fpr[:]...)...), nil
}

// Plan plans a signature of type kind with these hashed subpackets. It finalises h, a hash
// of alg which holds the signed data, with the trailer of RFC 9580 §5.2.4: version …
// hashed subpackets, then 04 FF and their length.
func Plan(k *signing.Key, kind byte, alg message.Alg, h hash.Hash, area []byte) *signing.Plan {
	p := []byte{4, kind, k.OpenPGPAlgorithm(), hashIDs[alg]}
	p = binary.BigEndian.AppendUint16(p, uint16(len(area)))
	p = append(p, area...)
	plan := &signing.Plan{Alg: alg, Key: k, Digest: finish(h, p)}
	plan.Seal = func(values [][]byte) []byte { return packetOf(k, p, plan.Digest, values) }
	plan.Open = func(sig []byte) ([][]byte, error) { return integers(kind, sig) }
	return plan
}

func finish(h hash.Hash, prefix []byte) []byte {
	h.Write(prefix)
	h.Write(binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(prefix))))
	return h.Sum(nil)
}

// packetOf is the signature packet of its hashed part, its digest and its integers.
func packetOf(k *signing.Key, prefix, digest []byte, values [][]byte) []byte {
	fpr := k.Fingerprint()
	issuer := packet.AppendSubpacket(nil, packet.SubIssuer, fpr[12:]...)
	b := bytes.Clone(prefix)
	b = binary.BigEndian.AppendUint16(b, uint16(len(issuer)))
	b = append(b, issuer...)
	b = append(b, digest[:2]...) // left 16 bits, RFC 9580 §5.2.3
	for _, v := range values {
		b = packet.AppendMPI(b, v)
	}
	return packet.Append(nil, packet.TagSignature, b)
}

// integers takes those of a packet of type kind.
func integers(kind byte, sig []byte) ([][]byte, error) {
	body, rest, err := packet.Cut(sig, packet.TagSignature)
	if err != nil || len(rest) != 0 {
		return nil, packet.Err
	}
	var f fields
	_, err = f.parse(body, kind)
	return f.values, err
}

// Signature is what a signature of the profile says. ParseSignature does not
// verify it.
type Signature struct {
	Text        bool      // over canonical text (type 0x01), not over bytes (0x00)
	Created     time.Time // UTC
	Fingerprint [20]byte  // of the issuing key
	Alg         message.Alg
	Origin      string // of the log that holds the intent
	Job         message.JobID

	fields
}

// fields are the parts common to all signatures.
type fields struct {
	algo   byte
	prefix []byte // version … hashed subpackets
	area   []byte // the hashed subpackets alone
	left   [2]byte
	values [][]byte
}

// ParseSignature reads one signature packet of exactly this package's profile;
// anything else, also any valid OpenPGP signature in another form, is an error.
func ParseSignature(sig []byte) (*Signature, error) {
	s, err := parseSignature(sig)
	if err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	return s, nil
}

func parseSignature(sig []byte) (*Signature, error) {
	if len(sig) > MaxSignature {
		return nil, errors.New("longer than any signature of the profile")
	}
	body, rest, err := packet.Cut(sig, packet.TagSignature)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, errors.New("bytes after the signature packet")
	}
	s := new(Signature)
	if s.Alg, err = s.fields.parse(body, TypeBinary, TypeText); err != nil {
		return nil, err
	}
	s.Text = body[1] == TypeText
	area := s.area
	if s.Created, s.Fingerprint, area, err = cutOrigin(area); err != nil {
		return nil, err
	}
	note, area, err := packet.CutSubpacket(area, packet.SubNotation)
	if err != nil {
		return nil, fmt.Errorf("notation: %w", err)
	}
	if len(area) != 0 {
		return nil, errors.New("unexpected hashed subpacket")
	}
	if s.Origin, s.Job, err = ParseNotation(note); err != nil {
		return nil, err
	}
	return s, s.checkIssuer(body, s.Fingerprint)
}

// parse reads what every signature of the profile shares; kinds are the types
// that it may be of.
func (f *fields) parse(body []byte, kinds ...byte) (message.Alg, error) {
	if len(body) < 6 || body[0] != 4 || !slices.Contains(kinds, body[1]) {
		return "", fmt.Errorf("not a version 4 signature of type %#02x", kinds)
	}
	f.algo = body[2]
	alg, ok := algOf(body[3])
	if count, _ := signing.ShapeOf(f.algo); !ok || count == 0 {
		return "", fmt.Errorf("algorithms %d and %d are not of the profile", body[2], body[3])
	}
	area, rest, err := packet.CutArea(body[4:])
	if err != nil {
		return "", err
	}
	f.area, f.prefix = area, body[:6+len(area)]
	issuer, rest, err := packet.CutArea(rest)
	if err != nil || len(issuer) != 10 || len(rest) < 2 {
		return "", errors.New("unhashed subpackets are not of the profile")
	}
	f.left = [2]byte(rest)
	return alg, f.parseValues(rest[2:])
}

func (f *fields) parseValues(b []byte) error {
	count, size := signing.ShapeOf(f.algo)
	for range count {
		v, rest, err := packet.CutMPI(b, size)
		if err != nil {
			return err
		}
		f.values, b = append(f.values, v), rest
	}
	if len(b) != 0 {
		return errors.New("bytes after the signature's integers")
	}
	return nil
}

// checkIssuer wants the unhashed area to be exactly the issuer's key id.
func (f *fields) checkIssuer(body []byte, fpr [20]byte) error {
	want := packet.AppendSubpacket([]byte{0, 10}, packet.SubIssuer, fpr[12:]...)
	if !bytes.HasPrefix(body[len(f.prefix):], want) {
		return errors.New("issuer key id does not match the fingerprint")
	}
	return nil
}

// cutOrigin takes creation time and issuer fingerprint from a hashed area.
func cutOrigin(area []byte) (created time.Time, fpr [20]byte, rest []byte, err error) {
	stamp, area, err := packet.CutSubpacket(area, packet.SubCreated)
	if err != nil || len(stamp) != 4 {
		return created, fpr, nil, errors.New("creation time is missing")
	}
	created = time.Unix(int64(binary.BigEndian.Uint32(stamp)), 0).UTC()
	if _, err := packet.Time(created); err != nil {
		return created, fpr, nil, err
	}
	id, area, err := packet.CutSubpacket(area, packet.SubFingerprint)
	if err != nil || len(id) != 21 || id[0] != 4 {
		return created, fpr, nil, errors.New("issuer fingerprint is missing")
	}
	return created, [20]byte(id[1:]), area, nil
}

// Type is TypeBinary or TypeText.
func (s *Signature) Type() byte { return s.prefix[1] }

// Hashed is the signature's part that is hashed with the data: version … hashed subpackets.
func (s *Signature) Hashed() []byte { return s.prefix }

// Value joins the signature's integers at the full length that those of k have. A
// signature of another key is an error.
func (s *Signature) Value(k *signing.Key) (b []byte, err error) {
	_, size := k.Shape()
	if s.Fingerprint != k.Fingerprint() || s.algo != k.OpenPGPAlgorithm() {
		return nil, errors.New("made by another key")
	}
	for _, v := range s.values {
		if len(v) > size {
			return nil, errors.New("the value is longer than the key's")
		}
		b = append(b, signing.Pad(v, size)...)
	}
	return b, nil
}

// Restore makes the packet again of Hashed and Value of a signature by k over a document,
// which is hashed with SHA-256. It verifies nothing; what is no packet of the profile is
// an error.
func Restore(k *signing.Key, hashed, value, document []byte) ([]byte, error) {
	count, size := k.Shape()
	if len(value) > count*size {
		return nil, errors.New("the value is longer than the key's")
	}
	h := message.SHA256.Hash().New()
	h.Write(document)
	value = signing.Pad(value, count*size)
	var values [][]byte
	for i := range count {
		values = append(values, bytes.TrimLeft(value[i*size:(i+1)*size], "\x00"))
	}
	sig := packetOf(k, hashed, finish(h, hashed), values)
	_, err := ParseSignature(sig)
	return sig, err
}

// VerifyDigest verifies sig by k over a final digest (signing.Plan's, as the intent
// entry names it). It cannot tell what file that is: Signature.Verify does.
func VerifyDigest(k *signing.Key, sig, digest []byte) (*Signature, error) {
	s, err := ParseSignature(sig)
	if err != nil {
		return nil, err
	}
	if err := s.verify(k, s.Alg, s.Fingerprint, digest); err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	return s, nil
}

// Verify verifies the signature by k over the data that h, a hash of s.Alg, holds.
func (s *Signature) Verify(k *signing.Key, h hash.Hash) error {
	if err := s.verify(k, s.Alg, s.Fingerprint, finish(h, s.prefix)); err != nil {
		return fmt.Errorf("openpgp signature: %w", err)
	}
	return nil
}

func (f *fields) verify(k *signing.Key, alg message.Alg, fpr [20]byte, digest []byte) error {
	switch {
	case fpr != k.Fingerprint() || f.algo != k.OpenPGPAlgorithm():
		return fmt.Errorf("made by key %X, not by %X", fpr, k.Fingerprint())
	case len(digest) < 2 || [2]byte(digest) != f.left:
		return errors.New("it is for other data: the digest differs")
	}
	if err := k.Signs(alg); err != nil {
		return err
	}
	return k.Verify(alg, digest, f.values)
}

// Said is what a signature of any type of the profile says.
type Said struct {
	Alg         message.Alg
	Created     time.Time // UTC
	Fingerprint [20]byte  // of the issuing key
	Rest        []byte    // hashed subpackets behind those of Created and Fingerprint

	fields
}

// Open takes one signature packet of one of these types; rest is what follows it. It
// verifies nothing and does not look at Said.Rest.
func Open(sig []byte, kinds ...byte) (s *Said, rest []byte, err error) {
	body, rest, err := packet.Cut(sig, packet.TagSignature)
	if err != nil {
		return nil, nil, err
	}
	s = new(Said)
	if s.Alg, err = s.parse(body, kinds...); err != nil {
		return nil, nil, err
	}
	if s.Created, s.Fingerprint, s.Rest, err = cutOrigin(s.area); err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

// Verify verifies the signature by k over a final digest.
func (s *Said) Verify(k *signing.Key, digest []byte) error {
	return s.verify(k, s.Alg, s.Fingerprint, digest)
}

// Notation is the body of the notation subpacket (RFC 9580 §5.2.3.24) that names log and
// job: human-readable flag, lengths, touchmark@HOST, ORIGIN#JOB. An origin that is none
// is an error.
func Notation(origin string, job message.JobID) ([]byte, error) {
	if err := message.ValidOrigin(origin); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(origin, "/")
	return NotationOf("touchmark@"+host, origin+"#"+job.String()), nil
}

// NotationOf is the body of a notation for people, not critical.
func NotationOf(name, value string) []byte {
	b := []byte{0x80, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(append(b, name...), value...)
}

// CutNotation takes name and value out of what NotationOf made; it looks at nothing
// else.
func CutNotation(b []byte) (name, value string, ok bool) {
	if len(b) < 8 {
		return "", "", false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < 8+n {
		return "", "", false
	}
	return string(b[8 : 8+n]), string(b[8+n:]), true
}

// ParseNotation reads what Notation makes, and nothing else.
func ParseNotation(b []byte) (origin string, job message.JobID, err error) {
	_, value, ok := CutNotation(b)
	if !ok {
		return "", job, packet.Err
	}
	origin, id, _ := strings.Cut(value, "#")
	if job, err = message.ParseJobID(id); err != nil {
		return "", job, fmt.Errorf("notation: %w", err)
	}
	want, err := Notation(origin, job)
	if err != nil {
		return "", job, err
	}
	if !bytes.Equal(want, b) {
		return "", job, errors.New("notation is not of the profile")
	}
	return origin, job, nil
}
