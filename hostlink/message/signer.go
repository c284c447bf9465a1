package message

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ParseSigner reads a note signer key, PRIVATE+KEY+name+hash+base64 of 01 and a seed of
// 32 bytes (C2SP signed-note; golang.org/x/mod/sumdb/note), and gives its public half,
// too. No error shows anything of the key.
func ParseSigner(secret string) (s note.Signer, public string, err error) {
	if s, err = note.NewSigner(secret); err != nil {
		return nil, "", err
	}
	fields := strings.SplitN(secret, "+", 5) // base64 has + too
	seed, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, "", errors.New("not an Ed25519 note key")
	}
	key, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, "", errors.New("no public key")
	}
	public, err = note.NewEd25519VerifierKey(s.Name(), key)
	return s, public, err
}
