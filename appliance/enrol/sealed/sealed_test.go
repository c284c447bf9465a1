package sealed

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	ok(t, err)
	return i
}

func TestSealed(t *testing.T) {
	alice, bob, eve := identity(t), identity(t), identity(t)
	to, err := ParseRecipients([]string{alice.Recipient().String(), bob.Recipient().String()})
	ok(t, err)
	path := filepath.Join(t.TempDir(), "secret.age")
	const secret = "0123456789abcdef"
	ok(t, Write(path, secret, to))
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Contains(raw, []byte(secret)) {
		t.Fatalf("it is not encrypted: %v", err)
	}
	for _, who := range []*age.X25519Identity{alice, bob} {
		if got, err := Read(path, strings.NewReader(who.String())); err != nil || string(got) != secret+"\n" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := Read(path, strings.NewReader(eve.String())); err == nil {
		t.Error("a stranger's identity opened it")
	}
	raw[len(raw)-1] ^= 1
	ok(t, os.WriteFile(path, raw, 0o600))
	if _, err := Read(path, strings.NewReader(alice.String())); err == nil {
		t.Error("a damaged file was taken")
	}
	ok(t, os.WriteFile(path, bytes.Repeat([]byte("a"), maxFile+1), 0o600))
	if _, err := Read(path, strings.NewReader(alice.String())); err == nil {
		t.Error("a huge file was taken")
	}
	if _, err := ParseRecipients([]string{"age1nobody"}); err == nil {
		t.Error("a malformed recipient was taken")
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := Write(none, secret, nil); err == nil {
		t.Error("a secret was written for nobody")
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("and the file is there")
	}
}
