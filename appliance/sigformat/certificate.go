package sigformat

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"

	"touchmark/hostlink/message"
)

// Certificate makes the OpenPGP certificate of a token key: primary key, user
// id and positive self-certification (RFC 9580 §10.1), without expiry, with
// SHA-256, at the key's creation time. sign has the token sign the digest and
// returns what Plan.Finish takes.
func Certificate(k *Key, uid string, sign func(digest []byte, h crypto.Hash) ([]byte, error)) ([]byte, error) {
	if err := CheckUserID(uid); err != nil {
		return nil, err
	}
	area, err := k.certArea()
	if err != nil {
		return nil, err
	}
	p := k.plan(typeCertification, message.SHA256, k.certHash(uid), area)
	raw, err := sign(p.Digest, p.Alg.Hash())
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: %w", err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		return nil, err
	}
	b := appendPacket(nil, tagPublicKey, k.body)
	b = appendPacket(b, tagUserID, []byte(uid))
	return append(b, sig...), nil
}

// certArea holds the hashed subpackets of the self-certification.
func (k *Key) certArea() ([]byte, error) {
	stamp, err := stampOf(k.Created)
	if err != nil {
		return nil, fmt.Errorf("openpgp certificate: creation %w", err)
	}
	b := appendSubpacket(nil, subCreated, stamp...)
	b = appendSubpacket(b, subFingerprint, append([]byte{4}, k.fingerprint[:]...)...)
	b = appendSubpacket(b, subKeyFlags, 0x03)    // certify and sign
	b = appendSubpacket(b, subCiphers, 9, 8, 7)  // AES-256, -192, -128
	b = appendSubpacket(b, subHashes, 10, 9, 8)  // SHA-512, -384, -256
	b = appendSubpacket(b, subCompression, 2, 1) // zlib, zip
	return appendSubpacket(b, subFeatures, 1), nil
}

// certHash starts the hash of a certification (RFC 9580 §5.2.4).
func (k *Key) certHash(uid string) hash.Hash {
	h := NewHasher(message.SHA256).h
	h.Write(k.hashed())
	h.Write(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(uid))))
	h.Write([]byte(uid))
	return h
}

// ParseCertificate reads a binary certificate that Certificate made, and
// verifies its self-signature. It returns the key and the user id.
func ParseCertificate(cert []byte) (*Key, string, error) {
	k, uid, err := parseCertificate(cert)
	if err != nil {
		return nil, "", fmt.Errorf("openpgp certificate: %w", err)
	}
	return k, uid, nil
}

func parseCertificate(cert []byte) (*Key, string, error) {
	if len(cert) > MaxCertificate {
		return nil, "", errors.New("longer than any certificate of the profile")
	}
	body, rest, err := cutPacket(cert, tagPublicKey)
	if err != nil {
		return nil, "", err
	}
	k, err := parseKey(body)
	if err != nil {
		return nil, "", err
	}
	uid, rest, err := cutPacket(rest, tagUserID)
	if err != nil {
		return nil, "", err
	}
	if err := CheckUserID(string(uid)); err != nil {
		return nil, "", err
	}
	sig, rest, err := cutPacket(rest, tagSignature)
	if err != nil {
		return nil, "", err
	}
	if len(rest) != 0 {
		return nil, "", errors.New("more than key, user id and self-signature")
	}
	return k, string(uid), k.verifySelf(sig, string(uid))
}

func (k *Key) verifySelf(sig []byte, uid string) error {
	var f fields
	alg, err := f.parse(sig, typeCertification)
	if err != nil {
		return err
	}
	area, err := k.certArea()
	if err != nil {
		return err
	}
	if alg != message.SHA256 || !bytes.Equal(f.area, area) {
		return errors.New("self-signature is not of the profile")
	}
	if err := f.checkIssuer(sig, k.fingerprint); err != nil {
		return err
	}
	return k.verify(&f, alg, k.fingerprint, finish(k.certHash(uid), f.prefix))
}

// CheckUserID accepts one line of printable text without spaces around it.
func CheckUserID(uid string) error {
	if len(uid) > MaxUserID || !message.ValidHuman(uid) || strings.TrimSpace(uid) != uid {
		return fmt.Errorf("user id %q: want 1 to %d bytes of printable text such as \"Name <mail@example.org>\"", uid, MaxUserID)
	}
	return nil
}

// Armor encodes a binary certificate as ASCII armor (RFC 9580 §6.2) with the
// checksum that older tools expect.
func Armor(cert []byte) []byte {
	var b bytes.Buffer
	b.WriteString("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
	text := base64.StdEncoding.EncodeToString(cert)
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	b.WriteString(text + "\n=")
	b.WriteString(base64.StdEncoding.EncodeToString(crc24(cert)))
	b.WriteString("\n-----END PGP PUBLIC KEY BLOCK-----\n")
	return b.Bytes()
}

// crc24 is the armor checksum of RFC 9580 §6.1.1.
func crc24(data []byte) []byte {
	crc := uint32(0xb704ce)
	for _, c := range data {
		crc ^= uint32(c) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return []byte{byte(crc >> 16), byte(crc >> 8), byte(crc)}
}
