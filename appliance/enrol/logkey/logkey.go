// Package logkey keeps the key that signs a log's checkpoints in a board's data
// directory, makes it, and seals copies of it for administrators.
//
// The private key is a file of one line, as golang.org/x/mod/sumdb/note writes
// it (docs/spec/message.md §2); its keyname is the log's origin. A copy for
// administrators is encrypted with age (age-encryption.org/v1).
//
// Guarantees: a file is durable before its key is used, and never overwritten.
package logkey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

// File is the key in the data directory.
const File = "log.key"

// Key is the key that signs the log's checkpoints.
type Key struct {
	note.Signer
	Public string // note verifier key
	secret string // note signer key
}

// Read loads the key of a data directory.
func Read(dir string) (*Key, error) {
	k, err := read(durable.OS, filepath.Join(dir, File))
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: is %s an enrolled data directory?", err, dir)
	}
	return k, err
}

func read(d durable.Disk, path string) (*Key, error) {
	raw, err := durable.ReadFile(d, path, maxKey)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	return parse(string(bytes.TrimSpace(raw)))
}

func parse(secret string) (*Key, error) {
	signer, public, err := message.ParseSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("the log key: %w", err)
	}
	return &Key{signer, public, secret}, nil
}

// Make makes a key and writes it down, or takes the one that an enrolment cut
// short has written.
func Make(dir, origin string) (*Key, error) {
	return makeAt(durable.OS, filepath.Join(dir, File), origin)
}

func makeAt(d durable.Disk, path, origin string) (*Key, error) {
	k, err := read(d, path)
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFileOn(d, path, []byte(secret+"\n"), 0o600); err != nil {
		return nil, err
	}
	return parse(secret)
}
