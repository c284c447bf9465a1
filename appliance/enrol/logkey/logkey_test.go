package logkey

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

const origin = "touchmark.example/test"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	mine, err := age.GenerateX25519Identity()
	ok(t, err)
	other, err := age.GenerateX25519Identity()
	ok(t, err)
	key, err := Make(dir, origin)
	ok(t, err)
	to, err := ParseRecipients([]string{mine.Recipient().String()})
	ok(t, err)
	backup := filepath.Join(t.TempDir(), BackupFile)
	ok(t, key.BackUp(backup, to))
	sealed, err := os.ReadFile(backup)
	if err != nil || bytes.Contains(sealed, []byte(key.secret)) {
		t.Fatalf("the backup is not encrypted: %v", err)
	}
	open := func(id *age.X25519Identity) (*Key, error) {
		return OpenBackup(backup, strings.NewReader(id.String()))
	}
	if _, err := open(other); err == nil {
		t.Error("a stranger's identity opened the backup")
	}
	back, err := open(mine)
	ok(t, err)
	if err := back.Restore(dir); err == nil {
		t.Error("a key that is there was overwritten")
	}
	fresh := t.TempDir()
	ok(t, back.Restore(fresh))
	if again, err := Read(fresh); err != nil || again.secret != key.secret {
		t.Errorf("another key came back: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	ok(t, os.WriteFile(backup, sealed, 0o600))
	if _, err := open(mine); err == nil {
		t.Error("a damaged backup was taken")
	}
	if _, err := ParseRecipients([]string{"age1nobody"}); err == nil {
		t.Error("a malformed recipient was taken")
	}
}

func TestLogKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := Make(dir, origin)
	ok(t, err)
	again, err := Make(dir, origin)
	if err != nil || again.secret != first.secret || again.Public != first.Public {
		t.Errorf("another key: %v", err)
	}
	for _, bad := range []string{"", "PRIVATE+KEY+a+00000000+AQ==", "words"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken for a log key", bad)
		}
	}
}
