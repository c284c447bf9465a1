package sigformat

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/message"
)

// Signature types (RFC 9580 §5.2.1) of the profile.
const (
	typeBinary        = 0x00
	typeText          = 0x01
	typeCertification = 0x13
	typeBinding       = 0x19 // a subkey agrees to its primary
	typeRevocation    = 0x20
)

// Subpacket types (RFC 9580 §5.2.3.7) of the profile.
const (
	subCreated     = 2
	subExpires     = 9
	subCiphers     = 11
	subIssuer      = 16
	subNotation    = 20
	subHashes      = 21
	subCompression = 22
	subKeyFlags    = 27
	subReason      = 29
	subFeatures    = 30
	subFingerprint = 33
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

// Plan is a signature about to be made. Digest is the final hash, of OpenPGP over
// file, hashed subpackets and trailer: what the token signs and what stands in
// the intent entry.
type Plan struct {
	Alg    message.Alg
	Digest []byte

	key     *Key
	message []byte // whose hash Digest is, where the token hashes it itself
	prefix  []byte // of OpenPGP: version … hashed subpackets

	seal func(values [][]byte) []byte             // a signature of its integers
	open func(signature []byte) ([][]byte, error) // the inverse, not checked
}

// Signed is what to give the token, and with which hash it was made; none: it
// signs these bytes as a message.
func (p *Plan) Signed() ([]byte, crypto.Hash) {
	if p.message != nil {
		return p.message, 0
	}
	return p.Digest, p.Alg.Hash()
}

// Plan plans the signature over the data whose state is s. The job and the log's
// origin go into a notation; created is the appliance's time in whole seconds,
// not before the key's creation.
func (f Format) Plan(k *Key, s State, created time.Time, origin string, job message.JobID) (*Plan, error) {
	if layouts[s.alg] == nil {
		return nil, errors.New(f.Name + ": no hash state")
	}
	if err := f.Signs(k.name, s.alg); err != nil {
		return nil, err
	}
	if p := f.planDigest(k, message.Digest{Alg: s.alg, Sum: s.Digest()}); p != nil {
		return p, nil
	}
	return f.planOpenPGP(k, s, created, origin, job)
}

// planDigest plans a signature that is made of the file's digest alone, nil if
// this format's is not.
func (f Format) planDigest(k *Key, file message.Digest) *Plan {
	switch {
	case f.Packet():
		return nil
	case f.Family == FamilySSH:
		return f.planSSH(k, file)
	}
	return planRaw(k, file)
}

func (f Format) planOpenPGP(k *Key, s State, created time.Time, origin string, job message.JobID) (*Plan, error) {
	area, err := k.originArea(created)
	if err != nil {
		return nil, fmt.Errorf("openpgp signature: creation %w", err)
	}
	if created.Before(k.Created) {
		return nil, fmt.Errorf("openpgp signature: time %s is before the key's creation %s",
			created.UTC().Format(time.RFC3339), k.Created.Format(time.RFC3339))
	}
	note, err := notation(origin, job)
	if err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	area = appendSubpacket(area, subNotation, note...)
	return k.plan(f.kind, s.alg, s.Hash(), area), nil
}

// plan finalises h, which holds the signed data, with the trailer of RFC 9580
// §5.2.4: version … hashed subpackets, then 04 FF and their length.
func (k *Key) plan(kind byte, alg message.Alg, h hash.Hash, area []byte) *Plan {
	p := []byte{4, kind, k.kind.algo(), hashIDs[alg]}
	p = binary.BigEndian.AppendUint16(p, uint16(len(area)))
	p = append(p, area...)
	plan := &Plan{Alg: alg, key: k, prefix: p, Digest: finish(h, p)}
	plan.seal, plan.open = plan.packet, plan.integers
	return plan
}

func finish(h hash.Hash, prefix []byte) []byte {
	h.Write(prefix)
	h.Write(binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(prefix))))
	return h.Sum(nil)
}

// Finish makes the signature from the token's answer to signing p.Signed: an
// ASN.1 DER ECDSA signature, an RSA PKCS#1 v1.5 block, or 64 bytes of Ed25519. The
// answer is verified against the key first; a wrong one is an error and yields
// nothing.
func (p *Plan) Finish(raw []byte) ([]byte, error) {
	values, err := p.key.kind.split(raw)
	if err == nil {
		err = p.check(values)
	}
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return p.seal(values), nil
}

func (p *Plan) check(values [][]byte) error {
	if p.message != nil {
		return p.key.check("", p.message, values)
	}
	return p.key.check(p.Alg, p.Digest, values)
}

// Verify checks that a signature is the planned one: over this very digest, by
// this key, and in every byte but its value as Finish would make it.
func (p *Plan) Verify(sig []byte) error {
	values, err := p.open(sig)
	if err == nil {
		err = p.check(values)
	}
	if err == nil && !bytes.Equal(p.seal(values), sig) {
		err = errors.New("it does not say what it should")
	}
	return err
}

// packet is the OpenPGP signature packet of a signature's integers.
func (p *Plan) packet(values [][]byte) []byte {
	issuer := appendSubpacket(nil, subIssuer, p.key.fingerprint[12:]...)
	b := bytes.Clone(p.prefix)
	b = binary.BigEndian.AppendUint16(b, uint16(len(issuer)))
	b = append(b, issuer...)
	b = append(b, p.Digest[:2]...) // left 16 bits, RFC 9580 §5.2.3
	for _, v := range values {
		b = AppendMPI(b, v)
	}
	return appendPacket(nil, tagSignature, b)
}

// integers takes those of a packet.
func (p *Plan) integers(sig []byte) ([][]byte, error) {
	body, rest, err := cutPacket(sig, tagSignature)
	if err != nil || len(rest) != 0 {
		return nil, errPacket
	}
	var f fields
	_, err = f.parse(body, p.prefix[1])
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

// fields are the parts common to file signatures and certifications.
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
	body, rest, err := cutPacket(sig, tagSignature)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, errors.New("bytes after the signature packet")
	}
	s := new(Signature)
	if s.Alg, err = s.fields.parse(body, typeBinary, typeText); err != nil {
		return nil, err
	}
	s.Text = body[1] == typeText
	area := s.area
	if s.Created, s.Fingerprint, area, err = cutOrigin(area); err != nil {
		return nil, err
	}
	note, area, err := cutSubpacket(area, subNotation)
	if err != nil {
		return nil, fmt.Errorf("notation: %w", err)
	}
	if len(area) != 0 {
		return nil, errors.New("unexpected hashed subpacket")
	}
	if s.Origin, s.Job, err = parseNotation(note); err != nil {
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
	if count, _ := shapeOf(f.algo); !ok || count == 0 {
		return "", fmt.Errorf("algorithms %d and %d are not of the profile", body[2], body[3])
	}
	area, rest, err := cutArea(body[4:])
	if err != nil {
		return "", err
	}
	f.area, f.prefix = area, body[:6+len(area)]
	issuer, rest, err := cutArea(rest)
	if err != nil || len(issuer) != 10 || len(rest) < 2 {
		return "", errors.New("unhashed subpackets are not of the profile")
	}
	f.left = [2]byte(rest)
	return alg, f.parseValues(rest[2:])
}

func (f *fields) parseValues(b []byte) error {
	count, size := shapeOf(f.algo)
	for range count {
		v, rest, err := cutMPI(b, size)
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
	want := appendSubpacket([]byte{0, 10}, subIssuer, fpr[12:]...)
	if !bytes.HasPrefix(body[len(f.prefix):], want) {
		return errors.New("issuer key id does not match the fingerprint")
	}
	return nil
}

// cutOrigin takes creation time and issuer fingerprint from a hashed area.
func cutOrigin(area []byte) (created time.Time, fpr [20]byte, rest []byte, err error) {
	stamp, area, err := cutSubpacket(area, subCreated)
	if err != nil || len(stamp) != 4 {
		return created, fpr, nil, errors.New("creation time is missing")
	}
	created = time.Unix(int64(binary.BigEndian.Uint32(stamp)), 0).UTC()
	if _, err := stampOf(created); err != nil {
		return created, fpr, nil, err
	}
	id, area, err := cutSubpacket(area, subFingerprint)
	if err != nil || len(id) != 21 || id[0] != 4 {
		return created, fpr, nil, errors.New("issuer fingerprint is missing")
	}
	return created, [20]byte(id[1:]), area, nil
}

// VerifyDigest verifies sig over a final digest (Plan.Digest, as the intent
// entry names it). It cannot tell what file that is: Format.Verify does.
func (k *Key) VerifyDigest(sig, digest []byte) (*Signature, error) {
	s, err := ParseSignature(sig)
	if err != nil {
		return nil, err
	}
	if err := k.verify(&s.fields, s.Alg, s.Fingerprint, digest); err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	return s, nil
}

// Verify verifies sig over the file whose hash state, as the format has it, is s.
func (f Format) Verify(k *Key, sig []byte, s State) (*Signature, error) {
	p, err := ParseSignature(sig)
	if err != nil {
		return nil, err
	}
	if p.prefix[1] != f.kind {
		return nil, fmt.Errorf("openpgp signature: of type %#02x, one of format %s has %#02x", p.prefix[1], f.Name, f.kind)
	}
	if p.Alg != s.alg {
		return nil, fmt.Errorf("openpgp signature: made with %s, the file was hashed with %s", p.Alg, s.alg)
	}
	if err := k.verify(&p.fields, p.Alg, p.Fingerprint, finish(s.Hash(), p.prefix)); err != nil {
		return nil, fmt.Errorf("openpgp signature: %w", err)
	}
	return p, nil
}

func (k *Key) verify(f *fields, alg message.Alg, fpr [20]byte, digest []byte) error {
	switch {
	case fpr != k.fingerprint || f.algo != k.kind.algo():
		return fmt.Errorf("made by key %X, not by %X", fpr, k.fingerprint)
	case len(digest) < 2 || [2]byte(digest) != f.left:
		return errors.New("it is for other data: the digest differs")
	}
	if err := k.Signs(alg); err != nil {
		return err
	}
	return k.check(alg, digest, f.values)
}

// notation is the body of the notation subpacket (RFC 9580 §5.2.3.24):
// human-readable flag, lengths, touchmark@HOST, ORIGIN#JOB.
func notation(origin string, job message.JobID) ([]byte, error) {
	if err := message.ValidOrigin(origin); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(origin, "/")
	return notationOf("touchmark@"+host, origin+"#"+job.String()), nil
}

// notationOf is the body of a notation for people, not critical.
func notationOf(name, value string) []byte {
	b := []byte{0x80, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(append(b, name...), value...)
}

// cutNotation takes name and value out of what notationOf made; it looks at nothing
// else.
func cutNotation(b []byte) (name, value string, ok bool) {
	if len(b) < 8 {
		return "", "", false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < 8+n {
		return "", "", false
	}
	return string(b[8 : 8+n]), string(b[8+n:]), true
}

func parseNotation(b []byte) (origin string, job message.JobID, err error) {
	_, value, ok := cutNotation(b)
	if !ok {
		return "", job, errPacket
	}
	origin, id, _ := strings.Cut(value, "#")
	if job, err = message.ParseJobID(id); err != nil {
		return "", job, fmt.Errorf("notation: %w", err)
	}
	want, err := notation(origin, job)
	if err != nil {
		return "", job, err
	}
	if !bytes.Equal(want, b) {
		return "", job, errors.New("notation is not of the profile")
	}
	return origin, job, nil
}
