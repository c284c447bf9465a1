package authfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the TPM is to get is on disk first, and the same again when the ceremony goes on.
func TestAuthsAreMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth")
	if _, err := Read(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	first, err := Make(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Make(path)
	if err != nil || !bytes.Equal(first.Owner, again.Owner) || !bytes.Equal(first.Endorsement, again.Endorsement) || !bytes.Equal(first.Lockout, again.Lockout) {
		t.Errorf("others: %v", err)
	}
	if bytes.Equal(first.Owner, first.Lockout) || bytes.Equal(first.Owner, first.Endorsement) {
		t.Error("two hierarchies have one authorization")
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", st.Mode(), err)
	}
}

// What is not such a file is not overwritten, and gives nothing.
func TestMalformedAuths(t *testing.T) {
	good := filepath.Join(t.TempDir(), "auth")
	if _, err := Make(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty":      "",
		"cut off":    string(text[:len(text)-1]),
		"surplus":    string(text) + "more x\n",
		"short":      strings.Replace(string(text), "owner ", "owner 0", 1),
		"other kind": strings.Replace(string(text), "/v1", "/v2", 1),
		"endless":    strings.Repeat("x", maxAuths+1),
	} {
		path := filepath.Join(t.TempDir(), "auth")
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := Make(path); err == nil || a.Owner != nil {
			t.Errorf("%s: taken", name)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != bad {
			t.Errorf("%s: the file was changed", name)
		}
	}
}
