package recipe

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"touchmark/image/bootsig"
)

// Signer signs boot.img for boards with secure boot, by RSA-2048.
type Signer interface {
	Public() *rsa.PublicKey
	Sign(ctx context.Context, image, digest []byte) ([]byte, error)
}

// KeyFile is a private key in a file: PEM, PKCS #1 or PKCS #8, not encrypted.
func KeyFile(path string) (Signer, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		var any8 any
		if any8, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("%s: no private key that is not encrypted: it says that it is %q", path, block.Type)
		}
		var ok bool
		if key, ok = any8.(*rsa.PrivateKey); !ok {
			return nil, fmt.Errorf("%s: a Raspberry Pi takes RSA-2048 keys only", path)
		}
	}
	return keyFile{key}, suits(path, &key.PublicKey)
}

type keyFile struct{ key *rsa.PrivateKey }

func (k keyFile) Public() *rsa.PublicKey { return &k.key.PublicKey }

func (k keyFile) Sign(_ context.Context, _, digest []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, k.key, crypto.SHA256, digest)
}

// Wrapper is a program that signs with a key that it alone reaches, say on a PIV token. It is called as rpi-eeprom-digest
// calls its HSM wrapper: `PROGRAM -a rsa2048-sha256 FILE`, and prints the signature in hexadecimal.
func Wrapper(program, public string) (Signer, error) {
	key, err := PublicKey(public)
	return wrapper{program, key}, err
}

type wrapper struct {
	program string
	key     *rsa.PublicKey
}

func (w wrapper) Public() *rsa.PublicKey { return w.key }

func (w wrapper) Sign(ctx context.Context, image, _ []byte) (sig []byte, err error) {
	dir, err := os.MkdirTemp("", "touchmark-sign.*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, BootImage)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, w.program, "-a", "rsa2048-sha256", path)
	cmd.Stderr, cmd.Stdin = os.Stderr, os.Stdin // it may ask for a PIN and for a touch
	said, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.program, err)
	}
	if sig, err = hex.DecodeString(string(bytes.TrimSpace(said))); err != nil || len(sig) != bootsig.KeyBytes {
		return nil, fmt.Errorf("%s did not print a signature of %d bytes in hexadecimal", w.program, bootsig.KeyBytes)
	}
	return sig, nil
}

// PublicKey reads a public key: PEM, PKIX or PKCS #1.
func PublicKey(path string) (*rsa.PublicKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: no public key: it says that it is %q", path, block.Type)
		}
		var ok bool
		if key, ok = parsed.(*rsa.PublicKey); !ok {
			return nil, fmt.Errorf("%s: a Raspberry Pi takes RSA-2048 keys only", path)
		}
	}
	return key, suits(path, key)
}

func suits(path string, key *rsa.PublicKey) error {
	if key.Size() != bootsig.KeyBytes {
		return fmt.Errorf("%s: a key of %d bits; a Raspberry Pi takes RSA-2048 only", path, key.N.BitLen())
	}
	return nil
}

// maxPEM bounds a file with a key: many times what one has.
const maxPEM = 64 << 10

func readPEM(path string) (*pem.Block, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file", path)
	}
	return block, nil
}
