package logkey

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/tpm/ledgerstore/durable"
)

// BackupFile is the key in the trust directory, encrypted to the
// administrators (age-encryption.org/v1). No verifier reads it.
const BackupFile = "log.key.age"

// BackUp writes the key to a file, encrypted for those who keep it.
func (k *Key) BackUp(path string, to []age.Recipient) error {
	return sealed.Write(path, k.secret, to)
}

// OpenBackup decrypts a backup with an age identity.
func OpenBackup(backup string, identity io.Reader) (*Key, error) {
	secret, err := sealed.Read(backup, identity)
	defer clear(secret)
	if err != nil {
		return nil, err
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
