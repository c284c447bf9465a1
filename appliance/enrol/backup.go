package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

// BackupFile is the log key in the trust directory, encrypted to the
// administrators (age-encryption.org/v1). No verifier reads it.
const BackupFile = "log.key.age"

// maxBackup bounds the backup: an age header of some recipients and a key of
// about a hundred bytes.
const maxBackup = 64 << 10

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

// backUp encrypts the log key for those who keep it.
func (c *ceremony) backUp(context.Context) error {
	if len(c.Backup) == 0 {
		c.words.once("WARNING     no backup of the log key (no --backup-recipient): if the board's disk is lost, its checkpoints end until administrators order another key")
		return nil
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, c.Backup...)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, c.log.secret+"\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.words.once("log key     backup in %s, for %d recipients", BackupFile, len(c.Backup))
	return durable.WriteFile(filepath.Join(c.TrustDir, BackupFile), sealed.Bytes(), 0o644)
}

// RestoreLogKey decrypts a backup with an age identity and puts the log key
// into the data directory, which must have none. If there is a log, the key
// must be of its origin.
func RestoreLogKey(dir, backup string, identity io.Reader) error {
	path := filepath.Join(dir, keyFile)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists: it is not overwritten", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	identities, err := age.ParseIdentities(identity)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	sealed, err := durable.ReadFile(durable.OS, backup, maxBackup)
	if err != nil {
		return err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return fmt.Errorf("%s: %w", backup, err)
	}
	secret, err := io.ReadAll(io.LimitReader(plain, maxBackup))
	defer clear(secret)
	if err != nil {
		return fmt.Errorf("%s: %w", backup, err)
	}
	k, err := parseLogKey(strings.TrimSpace(string(secret)))
	if err != nil {
		return fmt.Errorf("%s: %w", backup, err)
	}
	if err := belongs(dir, k); err != nil {
		return err
	}
	return durable.WriteFile(path, secret, 0o600)
}

// belongs refuses the key of another log.
func belongs(dir string, k *logKey) (err error) {
	store, err := ledgerstore.Open(LogDir(dir))
	if errors.Is(err, ledgerstore.ErrNoStore) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var g *ledger.Genesis
	if g, _, err = readGenesis(store); err == nil && g.Origin != k.Name() {
		err = fmt.Errorf("the key is for log %s, this is %s", k.Name(), g.Origin)
	}
	return err
}
