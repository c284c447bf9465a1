package envelope

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/strictjson"
)

// How in-toto's library, securesystemslib, writes keys and signatures.

// KeyID is how files of a form name a key: the fingerprint where signatures are OpenPGP
// packets, else SHA-256 of the public key's object. It is empty for a key that makes no
// such signatures.
func (f Form) KeyID(k *signing.Key) string {
	if f.Kind == Packet {
		fpr := k.Fingerprint()
		return hex.EncodeToString(fpr[:])
	}
	public := SecureSystems(k)
	if public == nil || hashes[signer{f.Kind, k.Algorithm()}] == "" {
		return ""
	}
	text, err := strictjson.Canonical(public)
	if err != nil {
		panic("envelope: a public key has no canonical JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// SecureSystems is an ECDSA or RSA public key as securesystemslib writes it into a file,
// nil for keys of another type. It strips the PEM of an RSA key of its last line end.
func SecureSystems(k *signing.Key) *strictjson.Object {
	kind, scheme := "ecdsa", map[string]string{"p256": "ecdsa-sha2-nistp256", "p384": "ecdsa-sha2-nistp384"}[k.Algorithm()]
	_, isRSA := k.Public.(*rsa.PublicKey)
	if isRSA {
		kind, scheme = "rsa", "rsa-pkcs1v15-sha256"
	}
	if scheme == "" {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		panic("envelope: a key that was encoded before has no SPKI: " + err.Error())
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
func (f Form) object(k *signing.Key, sig []byte) (*strictjson.Object, error) {
	o := new(strictjson.Object)
	o.Set("keyid", f.KeyID(k))
	switch {
	case f.Kind == Packet:
		s, err := openpgp.ParseSignature(sig)
		if err != nil {
			return nil, err
		}
		value, err := s.Value(k)
		if err != nil {
			return nil, err
		}
		o.Set("other_headers", hex.EncodeToString(s.Hashed()))
		o.Set("signature", hex.EncodeToString(value))
	case f.Kind == DSSE:
		o.Set("sig", base64.StdEncoding.EncodeToString(sig))
	default:
		o.Set("sig", hex.EncodeToString(sig))
	}
	return o, nil
}

// Signature is a file's signature over a document, as signing.Plan.Finish made it. It
// verifies nothing. Of a packet, what the object has not is made again.
func (f Form) Signature(k *signing.Key, o *strictjson.Object, document []byte) ([]byte, error) {
	switch {
	case f.Kind == DSSE:
		return bytesOf(o, "sig", base64.StdEncoding.Strict().DecodeString)
	case f.Kind == Native:
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
	return openpgp.Restore(k, prefix, value, document)
}

// bytesOf decodes a member.
func bytesOf(o *strictjson.Object, name string, decode func(string) ([]byte, error)) ([]byte, error) {
	v, _ := o.Get(name)
	text, ok := v.(string)
	b, err := decode(text)
	if !ok || err != nil || len(b) == 0 || len(b) > openpgp.MaxSignature {
		return nil, fmt.Errorf("no %q that can be read", name)
	}
	return b, nil
}
