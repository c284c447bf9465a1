package logkey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"touchmark/tpm/ledgerstore/durable"
)

// BackupFile is the key in the trust directory, encrypted to the
// administrators (age-encryption.org/v1). No verifier reads it.
const BackupFile = "log.key.age"

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

// BackUp writes the key to a file, encrypted for those who keep it.
func (k *Key) BackUp(path string, to []age.Recipient) error {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to...)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, k.secret+"\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return durable.WriteFile(path, sealed.Bytes(), 0o644)
}

// OpenBackup decrypts a backup with an age identity.
func OpenBackup(backup string, identity io.Reader) (*Key, error) {
	identities, err := age.ParseIdentities(identity)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	sealed, err := durable.ReadFile(durable.OS, backup, maxBackup)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", backup, err)
	}
	secret, err := io.ReadAll(io.LimitReader(plain, maxKey))
	defer clear(secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", backup, err)
	}
	k, err := parse(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", backup, err)
	}
	return k, nil
}

// Restore puts the key into a data directory: as the one in use if there is
// none, else as the next, if there is none of those. Nothing is overwritten; the
// log says which of the two signs.
func (k *Key) Restore(dir string) error {
	for _, path := range (Ring{Dir: dir}).files() {
		have, err := read(durable.OS, path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return durable.WriteFile(path, []byte(k.secret+"\n"), 0o600)
		case err == nil && have.Public == k.Public:
			return fmt.Errorf("%s holds this key already", path)
		}
	}
	return fmt.Errorf("%s and %s exist and hold other keys: they are not overwritten; move away the one that is wrong", File, NextFile)
}
