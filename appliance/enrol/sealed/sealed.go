// Package sealed keeps secrets for administrators in files that the board itself
// cannot read: encrypted with age (age-encryption.org/v1) to recipients whose
// identities the administrators keep elsewhere. It is the one way by which a
// secret is handed over.
package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"touchmark/tpm/ledgerstore/durable"
)

// ParseRecipients reads recipients as age writes them, "age1…".
func ParseRecipients(list []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, s := range list {
		r, err := age.ParseX25519Recipient(s)
		if err != nil {
			return nil, fmt.Errorf("recipient of the backup: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Write encrypts a secret, a text without the last line's end, into a file, which is durable on return.
func Write(path string, secret string, to []age.Recipient) error {
	if len(to) == 0 {
		return errors.New("there is nobody to encrypt a secret to: name a recipient")
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, secret+"\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return durable.WriteFile(path, out.Bytes(), 0o644)
}

// Read decrypts a file with age identities; the caller zeroes what it gets.
func Read(path string, identity io.Reader) ([]byte, error) {
	identities, err := age.ParseIdentities(identity)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	in, err := durable.ReadFile(durable.OS, path, maxFile)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(in), identities...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	secret, err := io.ReadAll(io.LimitReader(plain, maxSecret))
	if err != nil {
		clear(secret)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}
