package challenge

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// label of the seed's protection (TPM 2.0 part 1, "Credential Protection").
const label = "IDENTITY\x00"

// Ask adds a credential to the challenge and gives the secret in it: only the
// TPM that holds the private half of ek and an object of this Name can tell
// it. ek is of one of the two default templates (TCG EK Credential Profile:
// L-1 RSA-2048, L-2 P-256), both with SHA-256 and AES-128-CFB.
func (c *Challenge) Ask(ek crypto.PublicKey, akName []byte, random io.Reader) (*Secret, error) {
	kept := &Secret{}
	if _, err := io.ReadFull(random, kept.Value[:]); err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	seed, encrypted, err := newSeed(ek, random)
	if err != nil {
		return nil, fmt.Errorf("challenge: endorsement key: %w", err)
	}
	blob, err := idObject(seed, akName, kept.Value[:])
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	c.Credential = &Credential{Blob: blob, Secret: encrypted}
	text, err := c.Marshal()
	kept.Challenge = sha256.Sum256(text)
	return kept, err
}

// newSeed makes a seed and what of it the TPM is told (TPM 2.0 part 1, annexes
// B.10.3 and C.6.1).
func newSeed(ek crypto.PublicKey, random io.Reader) (seed, encrypted []byte, err error) {
	switch k := ek.(type) {
	case *rsa.PublicKey:
		if k.Size() != 256 {
			return nil, nil, fmt.Errorf("RSA of %d bits, only 2048 is supported", 8*k.Size())
		}
		seed = make([]byte, sha256.Size)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, nil, err
		}
		encrypted, err = rsa.EncryptOAEP(sha256.New(), random, k, seed, []byte(label))
		return seed, encrypted, err
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, nil, errors.New("only P-256 among elliptic curves is supported")
		}
		return newPointSeed(k, random)
	}
	return nil, nil, fmt.Errorf("a %T is not supported, only RSA-2048 and P-256", ek)
}

func newPointSeed(k *ecdsa.PublicKey, random io.Reader) (seed, encrypted []byte, err error) {
	peer, err := k.ECDH()
	if err != nil {
		return nil, nil, err
	}
	own, err := ecdh.P256().GenerateKey(random)
	if err != nil {
		return nil, nil, err
	}
	z, err := own.ECDH(peer)
	if err != nil {
		return nil, nil, err
	}
	x, y := own.PublicKey().Bytes()[1:33], own.PublicKey().Bytes()[33:]
	return kdfe(z, label, x, peer.Bytes()[1:33]), append(sized(x), sized(y)...), nil
}

// idObject protects the secret with the seed for the object of this Name.
func idObject(seed, name, secret []byte) ([]byte, error) {
	block, err := aes.NewCipher(kdfa(seed, "STORAGE\x00", name, 128))
	if err != nil {
		return nil, err
	}
	identity := sized(secret)
	cfb(block, identity)
	mac := hmac.New(sha256.New, kdfa(seed, "INTEGRITY\x00", nil, 256))
	mac.Write(identity)
	mac.Write(name)
	return append(sized(mac.Sum(nil)), identity...), nil
}

// cfb is AES-CFB encryption in place with an IV of zeros: under a key that is
// used once, as the TPM wants it.
func cfb(block cipher.Block, b []byte) {
	register := make([]byte, block.BlockSize())
	for len(b) > 0 {
		pad := make([]byte, block.BlockSize())
		block.Encrypt(pad, register)
		n := min(len(b), len(pad))
		for i := range n {
			b[i] ^= pad[i]
		}
		copy(register, b[:n])
		b = b[n:]
	}
}

// kdfa is SP 800-108 in counter mode with HMAC-SHA-256; label ends with a zero
// byte; one block is enough for 256 bits (TPM 2.0 part 1, "KDFa").
func kdfa(key []byte, label string, context []byte, bits uint32) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(binary.BigEndian.AppendUint32(nil, 1))
	mac.Write([]byte(label))
	mac.Write(context)
	mac.Write(binary.BigEndian.AppendUint32(nil, bits))
	return mac.Sum(nil)[:bits/8]
}

// kdfe is SP 800-56A's concatenation KDF with SHA-256, one block (TPM 2.0 part
// 1, "KDFe").
func kdfe(z []byte, label string, u, v []byte) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, 1))
	h.Write(z)
	h.Write([]byte(label))
	h.Write(u)
	h.Write(v)
	return h.Sum(nil)
}

func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}
