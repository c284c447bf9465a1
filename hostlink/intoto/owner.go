package intoto

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"touchmark/appliance/sigformat/strictjson"
)

// SignedBy says why in-toto's clients, who pin an OpenPGP key as the owner's, do not
// take the metadata for signed by it; nil if they do. It reads as securesystemslib
// 0.26 does: the first signature that names the key or one of its subkeys counts,
// over the canonical form, with SHA-256 (docs/spec/signature.md §4.5). So it
// takes signatures that others than an appliance made, too.
func (m *Metadata) SignedBy(f *Functionary) error {
	if f.public == nil {
		return fmt.Errorf("the key %s is of in-toto's own form, and no OpenPGP certificate", f.ID)
	}
	for _, s := range m.signatures {
		id := textOf(s, "keyid")
		if id == f.ID {
			return f.verify(s, m.Canonical)
		}
		if i := slices.IndexFunc(f.subkeys, func(k *Functionary) bool { return k.ID == id }); i >= 0 {
			return f.subkeys[i].verify(s, m.Canonical)
		}
	}
	return fmt.Errorf("no signature names the key %s", f.ID)
}

// verify checks a signature's object over a document.
func (f *Functionary) verify(s strictjson.Value, document []byte) error {
	headers, err := hex.DecodeString(textOf(s, "other_headers"))
	value, err2 := hex.DecodeString(textOf(s, "signature"))
	if errors.Join(err, err2) != nil || len(headers) == 0 || len(value) == 0 {
		return fmt.Errorf("the signature by %s is none of an OpenPGP key", f.ID)
	}
	h := sha256.New()
	h.Write(document)
	h.Write(headers)
	h.Write(binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(headers)))) // RFC 9580 §5.2.4
	good := false
	switch key := f.public.(type) {
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(key, crypto.SHA256, h.Sum(nil), value) == nil
	case ed25519.PublicKey:
		good = len(key) == ed25519.PublicKeySize && ed25519.Verify(key, h.Sum(nil), value)
	}
	if !good {
		return fmt.Errorf("the signature by %s is not over this", f.ID)
	}
	return nil
}
