package intoto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"touchmark/appliance/sigformat/strictjson"
)

// Functionary is who may do a step, by the key.
type Functionary struct {
	ID      string
	Expires time.Time // of the primary key; zero: never

	// Made is when the primary key was made, Certificate the binary OpenPGP certificate
	// and UserID its first user id; all empty for a key of in-toto's own form.
	Made        time.Time
	Certificate []byte
	UserID      string

	object  *strictjson.Object // as layouts have it
	public  any                // *rsa.PublicKey or ed25519.PublicKey; nil for a key of in-toto's own form
	subkeys []*Functionary
}

// ParseKey reads a functionary's public key: one OpenPGP certificate, armored or
// not, that holds at a time, or the JSON of securesystemslib's own form, as
// touchmark keyring show --in-toto and in-toto-keygen -t ed25519 write it.
func ParseKey(file []byte, now time.Time) (*Functionary, error) {
	if bytes.HasPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("{")) {
		return nativeKey(file)
	}
	file, err := dearmored(file)
	if err != nil {
		return nil, err
	}
	e, err := certificate(file)
	if err != nil {
		return nil, err
	}
	f, err := openPGPKey(e, now)
	if err != nil {
		return nil, err
	}
	f.Certificate, f.Made = file, e.PrimaryKey.CreationTime.UTC()
	if id := e.PrimaryIdentity(); id != nil {
		f.UserID = id.Name
	}
	return f, nil
}

// dearmored is a certificate's file in binary.
func dearmored(file []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("-----BEGIN ")) {
		return file, nil
	}
	block, err := armor.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("no OpenPGP certificate: %w", err)
	}
	if block.Type != openpgp.PublicKeyType {
		return nil, fmt.Errorf("a %s, not an OpenPGP certificate", block.Type)
	}
	b, err := io.ReadAll(block.Body)
	if err != nil {
		return nil, fmt.Errorf("no OpenPGP certificate: %w", err)
	}
	return b, nil
}

// certificate reads the one certificate of a file, which has no secret part.
func certificate(file []byte) (*openpgp.Entity, error) {
	packets := packet.NewReader(bytes.NewReader(file))
	e, err := openpgp.ReadEntity(packets)
	if err != nil {
		return nil, fmt.Errorf("no OpenPGP certificate that can be read: %w", err)
	}
	if e.PrivateKey != nil || slices.ContainsFunc(e.Subkeys, func(s openpgp.Subkey) bool { return s.PrivateKey != nil }) {
		return nil, errors.New("a secret key: export the public one (gpg --export)")
	}
	if _, err := packets.Next(); err != io.EOF {
		return nil, errors.New("more than one OpenPGP certificate: give each its own file")
	}
	return e, nil
}

// openPGPKey makes the object that securesystemslib's export makes of a certificate
// (its gpg/common.py, version 0.26); of subkeys those only that are for signatures and
// hold, where it has those for encryption too.
func openPGPKey(e *openpgp.Entity, now time.Time) (*Functionary, error) {
	self, user := e.PrimarySelfSignature()
	switch {
	case self == nil:
		return nil, errors.New("a certificate without a signature by its own key")
	case e.Revoked(now) || user != nil && user.Revoked(now):
		return nil, fmt.Errorf("the certificate %x is revoked", e.PrimaryKey.Fingerprint)
	case e.PrimaryKey.KeyExpired(self, now):
		return nil, fmt.Errorf("the certificate %x has expired, or is of the future", e.PrimaryKey.Fingerprint)
	}
	f, err := functionaryOf(e.PrimaryKey, self)
	if err != nil {
		return nil, err
	}
	subkeys, signs := new(strictjson.Object), self.FlagsValid && self.FlagSign
	for _, s := range e.Subkeys {
		if !s.Sig.FlagsValid || !s.Sig.FlagSign || s.Revoked(now) || s.PublicKey.KeyExpired(s.Sig, now) {
			continue
		}
		// A subkey of another type than the primary in-toto verifies by the primary's type: no link by it would count.
		if sub, err := functionaryOf(s.PublicKey, s.Sig); err == nil && member(sub.object, "type") == member(f.object, "type") {
			subkeys.Set(sub.ID, sub.object)
			f.subkeys = append(f.subkeys, sub)
			signs = true
		}
	}
	if !signs {
		return nil, fmt.Errorf("the certificate %s has no key for signatures that in-toto takes: a primary, or a subkey of its type", f.ID)
	}
	if len(subkeys.Members) > 0 {
		f.object.Set("subkeys", subkeys)
	}
	return f, nil
}

// functionaryOf makes the object of one key, which a signature by the primary
// describes.
func functionaryOf(k *packet.PublicKey, self *packet.Signature) (*Functionary, error) {
	public, val, o := new(strictjson.Object), new(strictjson.Object), new(strictjson.Object)
	var kind, method string
	var key any
	switch p := k.PublicKey.(type) {
	case *rsa.PublicKey:
		kind, method, key = "rsa", "pgp+rsa-pkcsv1.5", p
		public.Set("e", hex.EncodeToString(big.NewInt(int64(p.E)).Bytes()))
		public.Set("n", hex.EncodeToString(p.N.Bytes()))
	case *eddsa.PublicKey:
		point := bytes.TrimPrefix(p.MarshalPoint(), []byte{0x40})
		kind, method, key = "eddsa", "pgp+eddsa-ed25519", ed25519.PublicKey(point)
		public.Set("q", hex.EncodeToString(point))
	}
	if key == nil || k.Version != 4 {
		return nil, fmt.Errorf("key %x: of OpenPGP in-toto takes RSA and Ed25519 keys of version 4 only", k.Fingerprint)
	}
	left := int64(0)
	if self.KeyLifetimeSecs != nil {
		left = int64(*self.KeyLifetimeSecs)
	}
	if left > maxTime || k.CreationTime.Unix() > maxTime {
		return nil, fmt.Errorf("key %x: in-toto takes no key that is good for more than 68 years, or made after 2038: have it expire earlier, or never", k.Fingerprint)
	}
	f := &Functionary{ID: hex.EncodeToString(k.Fingerprint), object: o, public: key}
	val.Set("private", "")
	val.Set("public", public)
	o.Set("creation_time", number(k.CreationTime.Unix()))
	o.Set("hashes", strictjson.Array{"pgp+SHA2"})
	o.Set("keyid", f.ID)
	o.Set("keyval", val)
	o.Set("method", method)
	o.Set("type", kind)
	if left != 0 {
		o.Set("validity_period", number(left))
		f.Expires = k.CreationTime.Add(time.Duration(left) * time.Second).UTC()
	}
	return f, nil
}

func number(n int64) strictjson.Number { return strictjson.Number(fmt.Sprint(n)) }

// nativeKey reads a key of securesystemslib's own form and computes its id
// (docs/spec/signature.md §4.5).
func nativeKey(file []byte) (*Functionary, error) {
	v, err := strictjson.Parse(file)
	o, ok := v.(*strictjson.Object)
	if err != nil || !ok {
		return nil, fmt.Errorf("no JSON object of one public key: %v", err)
	}
	val, _ := member(o, "keyval").(*strictjson.Object)
	if val == nil {
		return nil, errors.New(`no public key: "keyval" is missing`)
	}
	if private, there := val.Get("private"); there && private != "" {
		return nil, errors.New("a private key: a layout is published, take the public one")
	}
	public, signed := new(strictjson.Object), new(strictjson.Object)
	public.Set("public", member(val, "public"))
	signed.Set("keyid_hash_algorithms", strictjson.Array{"sha256", "sha512"})
	signed.Set("keytype", member(o, "keytype"))
	signed.Set("keyval", public)
	signed.Set("scheme", member(o, "scheme"))
	text, err := strictjson.Canonical(signed)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	f := &Functionary{ID: hex.EncodeToString(sum[:]), object: signed}
	if id, there := o.Get("keyid"); there && id != f.ID {
		return nil, fmt.Errorf("the key's id is %s, the file has another", f.ID)
	}
	whole := new(strictjson.Object)
	whole.Set("private", "")
	whole.Set("public", member(val, "public"))
	signed.Set("keyid", f.ID)
	signed.Set("keyval", whole)
	return f, nil
}

// member is that of an object, nil if it has none.
func member(o *strictjson.Object, name string) strictjson.Value {
	v, _ := o.Get(name)
	return v
}
