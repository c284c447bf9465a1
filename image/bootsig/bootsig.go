// Package bootsig makes and reads boot.sig, by which a Raspberry Pi with secure boot knows a boot.img. The form is that of
// Raspberry Pi's own tool, rpi-eeprom-digest (github.com/raspberrypi/rpi-eeprom):
//
//	<SHA-256 of boot.img, hexadecimal>
//	ts: <seconds since 1970>
//	rsa2048: <PKCS #1 v1.5 signature over boot.img with SHA-256, hexadecimal>
//
// each line ended by a line feed. Without the third line it is what the same tool makes without a key: a board without
// secure boot starts it, one with secure boot does not.
package bootsig

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// KeyBytes is the length of the only kind of key that the boot loader takes: RSA-2048.
const KeyBytes = 256

var (
	// ErrFormat says that a file is no boot.sig.
	ErrFormat = errors.New("boot.sig: not in the form of rpi-eeprom-digest")
	// ErrUnsigned says that there is no signature in it.
	ErrUnsigned = errors.New("boot.sig: no signature: a board with secure boot does not start this image")
	// ErrDigest says that it belongs to another boot.img.
	ErrDigest = errors.New("boot.sig: made for another boot.img")
	// ErrSignature says that the key did not sign the image.
	ErrSignature = errors.New("boot.sig: not signed by this key")
)

// Sig is what a boot.sig says.
type Sig struct {
	Digest    [sha256.Size]byte
	Time      int64  // seconds since 1970
	Signature []byte // nil, or KeyBytes
}

// Bytes is the file.
func (s Sig) Bytes() []byte {
	b := fmt.Appendf(nil, "%x\nts: %d\n", s.Digest, s.Time)
	if s.Signature != nil {
		b = fmt.Appendf(b, "rsa2048: %x\n", s.Signature)
	}
	return b
}

var form = regexp.MustCompile(`\A([0-9a-f]{64})\nts: (0|[1-9][0-9]{0,17})\n(?:rsa2048: ([0-9a-f]{512})\n)?\z`)

// Parse reads a file; what it takes, [Sig.Bytes] gives back.
func Parse(b []byte) (Sig, error) {
	m := form.FindSubmatch(b)
	if m == nil {
		return Sig{}, ErrFormat
	}
	var s Sig
	var err error
	if _, err = hex.Decode(s.Digest[:], m[1]); err != nil {
		return Sig{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if s.Time, err = strconv.ParseInt(string(m[2]), 10, 64); err != nil {
		return Sig{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(m[3]) > 0 {
		if s.Signature, err = hex.DecodeString(string(m[3])); err != nil {
			return Sig{}, fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	return s, nil
}

// Check holds a boot.img against a boot.sig. With a key it must be signed by it; without, only the digest is compared.
func (s Sig) Check(image []byte, key *rsa.PublicKey) error {
	return s.CheckDigest(sha256.Sum256(image), key)
}

// CheckDigest is [Sig.Check] where only the SHA-256 of boot.img is known, say from a manifest.
func (s Sig) CheckDigest(digest [sha256.Size]byte, key *rsa.PublicKey) error {
	switch {
	case digest != s.Digest:
		return ErrDigest
	case key == nil:
		return nil
	case s.Signature == nil:
		return ErrUnsigned
	case key.Size() != KeyBytes || rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], s.Signature) != nil:
		return ErrSignature
	}
	return nil
}

// New is the boot.sig of an image at a time. sign is given the image's digest and returns a PKCS #1 v1.5 signature; nil
// makes one that is not signed. What comes back is checked against the key before anything is made of it.
func New(image []byte, time int64, key *rsa.PublicKey, sign func(digest []byte) ([]byte, error)) (Sig, error) {
	s := Sig{Digest: sha256.Sum256(image), Time: time}
	if sign == nil {
		return s, nil
	}
	var err error
	if s.Signature, err = sign(s.Digest[:]); err != nil {
		return Sig{}, fmt.Errorf("boot.sig: signing: %w", err)
	}
	return s, s.Check(image, key)
}
