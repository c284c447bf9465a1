package sigformat

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// How in-toto's library, securesystemslib, writes keys and signatures.

// KeyID is how files of an enclosed format name a key: the fingerprint where
// signatures are OpenPGP packets, else SHA-256 of the public key's object. It is
// empty for a key that makes no such signatures.
func (f Format) KeyID(k *Key) string {
	if f.Packet() {
		return hex.EncodeToString(k.fingerprint[:])
	}
	public := k.SecureSystems()
	if public == nil || !slices.ContainsFunc(message.Algs(), func(a message.Alg) bool { return f.Signs(k.name, a) == nil }) {
		return ""
	}
	text, err := strictjson.Canonical(public)
	if err != nil {
		panic("sigformat: a public key has no canonical JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// SecureSystems is an ECDSA or RSA public key as securesystemslib writes it into a file,
// nil for keys of another type. It strips the PEM of an RSA key of its last line end.
func (k *Key) SecureSystems() *strictjson.Object {
	kind, scheme := "ecdsa", map[string]string{"p256": "ecdsa-sha2-nistp256", "p384": "ecdsa-sha2-nistp384"}[k.name]
	_, isRSA := k.kind.(rsaType)
	if isRSA {
		kind, scheme = "rsa", "rsa-pkcs1v15-sha256"
	}
	if scheme == "" {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		panic("sigformat: a key that was encoded before has no SPKI: " + err.Error())
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if isRSA {
		text = strings.TrimSuffix(text, "\n")
	}
	val, o := new(strictjson.Object), new(strictjson.Object)
	val.Set("public", text)
	o.Set("keyid_hash_algorithms", strictjson.Array{"sha256", "sha512"})
	o.Set("keytype", kind)
	o.Set("keyval", val)
	o.Set("scheme", scheme)
	return o
}

// object is a signature as files have it.
func (f Format) object(k *Key, sig []byte) (*strictjson.Object, error) {
	o := new(strictjson.Object)
	o.Set("keyid", f.KeyID(k))
	switch {
	case f.Packet():
		s, err := ParseSignature(sig)
		if err != nil {
			return nil, err
		}
		value, err := k.value(s)
		if err != nil {
			return nil, err
		}
		o.Set("other_headers", hex.EncodeToString(s.prefix))
		o.Set("signature", hex.EncodeToString(value))
	case f.Family == FamilyDSSE:
		o.Set("sig", base64.StdEncoding.EncodeToString(sig))
	default:
		o.Set("sig", hex.EncodeToString(sig))
	}
	return o, nil
}

// value joins a signature's integers at their full length.
func (k *Key) value(s *Signature) (b []byte, err error) {
	_, size := k.kind.shape()
	if s.Fingerprint != k.fingerprint || s.algo != k.kind.algo() {
		return nil, errors.New("made by another key")
	}
	for _, v := range s.values {
		if len(v) > size {
			return nil, errors.New("the value is longer than the key's")
		}
		b = append(b, padded(v, size)...)
	}
	return b, nil
}

// signature is the inverse of object. Of a packet, what the object has not is
// made again.
func (f Format) signature(k *Key, o *strictjson.Object, document []byte) ([]byte, error) {
	switch {
	case f.Family == FamilyDSSE:
		return bytesOf(o, "sig", base64.StdEncoding.Strict().DecodeString)
	case !f.Packet():
		return bytesOf(o, "sig", hex.DecodeString)
	}
	prefix, err := bytesOf(o, "other_headers", hex.DecodeString)
	if err != nil {
		return nil, err
	}
	value, err := bytesOf(o, "signature", hex.DecodeString)
	if err != nil {
		return nil, err
	}
	return k.packetOf(prefix, value, document)
}

// bytesOf decodes a member.
func bytesOf(o *strictjson.Object, name string, decode func(string) ([]byte, error)) ([]byte, error) {
	v, _ := o.Get(name)
	text, ok := v.(string)
	b, err := decode(text)
	if !ok || err != nil || len(b) == 0 || len(b) > MaxSignature {
		return nil, fmt.Errorf("no %q that can be read", name)
	}
	return b, nil
}

// packetOf makes the packet of its hashed part and the value of the signature
// over a document.
func (k *Key) packetOf(prefix, value, document []byte) ([]byte, error) {
	count, size := k.kind.shape()
	if len(value) > count*size {
		return nil, errors.New("the value is longer than the key's")
	}
	h := NewHasher(message.SHA256)
	_, _ = h.Write(document) // hashes never fail
	value = padded(value, count*size)
	var values [][]byte
	for i := range count {
		values = append(values, bytes.TrimLeft(value[i*size:(i+1)*size], "\x00"))
	}
	p := &Plan{Digest: finish(h.h, prefix), key: k, prefix: prefix}
	sig := p.packet(values)
	_, err := ParseSignature(sig)
	return sig, err
}
