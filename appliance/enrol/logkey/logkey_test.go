package logkey

import (
	"bytes"
	"errors"
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
	backup := filepath.Join(t.TempDir(), BackupFile)
	ok(t, key.BackUp(backup, []age.Recipient{mine.Recipient()}))
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

func TestRing(t *testing.T) {
	dir := t.TempDir()
	r := Ring{Dir: dir}
	first, err := Make(dir, origin)
	ok(t, err)
	next, err := r.MakeNext(origin)
	ok(t, err)
	if again, err := r.MakeNext(origin); err != nil || again.secret != next.secret || next.secret == first.secret {
		t.Errorf("the next key was made twice: %v", err)
	}
	for _, k := range []*Key{first, next} {
		if s, err := r.Find(k.Public); err != nil || s.KeyHash() != k.KeyHash() {
			t.Errorf("%s: %v", k.Public, err)
		}
	}
	ok(t, r.Keep(first.Public)) // the order is not in force yet
	if _, err := r.Next(); err != nil {
		t.Fatal("the next key is gone before it is in force")
	}
	for range 2 { // a crash may have come between the two halves of it
		ok(t, r.Keep(next.Public))
		if _, err := r.Next(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the next key stayed: %v", err)
		}
		if k, err := Read(dir); err != nil || k.secret != next.secret {
			t.Errorf("the key in use: %v", err)
		}
	}
	if _, err := r.Find(first.Public); err == nil || !strings.Contains(err.Error(), next.Public) {
		t.Errorf("the key that was replaced: %v", err)
	}
	if _, err := (Ring{Dir: t.TempDir()}).Find(first.Public); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("an empty directory: %v", err)
	}
}

// A board whose disk was rolled back has the key of before; the backup of the one in force goes beside it.
func TestRestoreOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	key := func() *Key {
		k, err := Make(t.TempDir(), origin)
		ok(t, err)
		return k
	}
	a, b, c := key(), key(), key()
	ok(t, a.Restore(dir))
	if err := a.Restore(dir); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same key again: %v", err)
	}
	ok(t, b.Restore(dir))
	if err := b.Restore(dir); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same key again: %v", err)
	}
	if err := c.Restore(dir); err == nil || !strings.Contains(err.Error(), "move away") {
		t.Errorf("a third key: %v", err)
	}
	for _, k := range []*Key{a, b} {
		if _, err := (Ring{Dir: dir}).Find(k.Public); err != nil {
			t.Error(err)
		}
	}
}
