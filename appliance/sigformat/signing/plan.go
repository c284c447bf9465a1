package signing

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"touchmark/hostlink/message"
)

// Plan is a signature about to be made. Digest is the final hash, of OpenPGP over
// file, hashed subpackets and trailer: what the token signs and what stands in
// the intent entry.
type Plan struct {
	Alg    message.Alg
	Digest []byte

	Key     *Key
	Message []byte // whose hash Digest is, where the token hashes it itself

	Seal func(values [][]byte) []byte             // a signature of its integers
	Open func(signature []byte) ([][]byte, error) // the inverse, not checked
}

// Signed is what to give the token, and with which hash it was made; none: it
// signs these bytes as a message.
func (p *Plan) Signed() ([]byte, crypto.Hash) {
	if p.Message != nil {
		return p.Message, 0
	}
	return p.Digest, p.Alg.Hash()
}

// Finish makes the signature from the token's answer to signing p.Signed: an
// ASN.1 DER ECDSA signature, an RSA PKCS#1 v1.5 block, or 64 bytes of Ed25519. The
// answer is verified against the key first; a wrong one is an error and yields
// nothing.
func (p *Plan) Finish(raw []byte) ([]byte, error) {
	values, err := p.Key.Split(raw)
	if err == nil {
		err = p.check(values)
	}
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return p.Seal(values), nil
}

func (p *Plan) check(values [][]byte) error {
	if p.Message != nil {
		return p.Key.Verify("", p.Message, values)
	}
	return p.Key.Verify(p.Alg, p.Digest, values)
}

// Verify checks that a signature is the planned one: over this very digest, by
// this key, and in every byte but its value as Finish would make it.
func (p *Plan) Verify(sig []byte) error {
	values, err := p.Open(sig)
	if err == nil {
		err = p.check(values)
	}
	if err == nil && !bytes.Equal(p.Seal(values), sig) {
		err = errors.New("it does not say what it should")
	}
	return err
}
