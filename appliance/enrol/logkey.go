package enrol

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"touchmark/tpm/ledgerstore/durable"
)

// logKey is the key that signs the log's checkpoints.
type logKey struct {
	note.Signer
	secret string // note signer key
	public string // note verifier key
}

// ReadLogKey loads the log's signing key.
func ReadLogKey(dir string) (note.Signer, error) {
	k, err := readLogKey(dir)
	if err != nil {
		return nil, err
	}
	return k.Signer, nil
}

func readLogKey(dir string) (*logKey, error) {
	raw, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("%w: is %s an enrolled data directory?", err, dir)
	}
	defer clear(raw)
	return parseLogKey(string(bytes.TrimSpace(raw)))
}

// parseLogKey reads a signer key, PRIVATE+KEY+name+hash+base64 of 01 and a
// seed of 32 bytes (C2SP signed-note; golang.org/x/mod/sumdb/note).
func parseLogKey(secret string) (*logKey, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("the log key: %w", err)
	}
	fields := strings.SplitN(secret, "+", 5) // base64 has + too
	seed, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("the log key is not a note signer key")
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
	return &logKey{signer, secret, public}, err
}

// makeLogKey makes a log key and writes it down, or takes the one that an
// enrolment cut short has written.
func makeLogKey(dir, origin string) (*logKey, error) {
	k, err := readLogKey(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, keyFile), []byte(secret+"\n"), 0o600); err != nil {
		return nil, err
	}
	return parseLogKey(secret)
}
