package enrol

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestBackup(t *testing.T) {
	dir, trust := t.TempDir(), t.TempDir()
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := makeLogKey(dir, "touchmark.example/test")
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseRecipients([]string{mine.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	c := &ceremony{Config: Config{TrustDir: trust, Backup: to}, log: key}
	if err := c.backUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(trust, BackupFile)
	sealed, err := os.ReadFile(backup)
	if err != nil || bytes.Contains(sealed, []byte(key.secret)) {
		t.Fatalf("the backup is not encrypted: %v", err)
	}
	restore := func(dir string, id *age.X25519Identity) error {
		return RestoreLogKey(dir, backup, strings.NewReader(id.String()))
	}
	if err := restore(dir, mine); err == nil {
		t.Error("a key that is there was overwritten")
	}
	fresh := t.TempDir()
	if err := restore(fresh, other); err == nil {
		t.Error("a stranger's identity opened the backup")
	}
	if err := restore(fresh, mine); err != nil {
		t.Fatal(err)
	}
	if again, err := readLogKey(fresh); err != nil || again.secret != key.secret {
		t.Errorf("another key came back: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if err := os.WriteFile(backup, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(t.TempDir(), mine); err == nil {
		t.Error("a damaged backup was taken")
	}
	if _, err := ParseRecipients([]string{"age1nobody"}); err == nil {
		t.Error("a malformed recipient was taken")
	}
}
