package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"touchmark/tests/swtpm"
)

// The same file gives the same management key again: a ceremony that is
// resumed must not lose the one that the token has.
func TestManagementKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "management.key")
	first, err := newManagementKey(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != hex.EncodeToString(first)+"\n" {
		t.Errorf("%q, %v", text, err)
	}
	if again, err := newManagementKey(path); err != nil || !bytes.Equal(first, again) {
		t.Errorf("%x, then %x: %v", first, again, err)
	}
	if err := os.WriteFile(path, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newManagementKey(path); err == nil {
		t.Error("a file that holds something else was taken for a key")
	}
	if key, err := newManagementKey(""); key != nil || err != nil {
		t.Errorf("%x, %v", key, err)
	}
}

// What is wrong with the arguments is said before anything is touched.
func TestEnrollRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	policy := file("policy", "policy")
	for name, tt := range map[string]struct {
		f    enrollFlags
		code int
	}{
		"no policy":             {enrollFlags{policy: filepath.Join(dir, "none")}, 1},
		"no recipient":          {enrollFlags{policy: policy, backup: []string{"bob"}}, 2},
		"no predecessor":        {enrollFlags{policy: policy, predecessor: dir}, 1},
		"a short nonce":         {enrollFlags{policy: policy, nonce: "00"}, 2},
		"a TPM that is no file": {enrollFlags{policy: policy, tpm: "tpm0"}, 4},
	} {
		if err := enroll(t.Context(), tt.f); err == nil || exitCode(&runError{err}) != tt.code {
			t.Errorf("%s: %v, exit code %d", name, err, exitCode(&runError{err}))
		}
	}
}

func TestAnswerRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "challenge")
	if err := os.WriteFile(bad, []byte("touchmark/challenge/v1\norigin a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "answer")
	spec := swtpm.Start(t).Spec()
	for name, f := range map[string]answerFlags{
		"no challenge":      {dir: dir, tpm: spec, challenge: filepath.Join(dir, "none"), out: out},
		"a malformed one":   {dir: dir, tpm: spec, challenge: bad, out: out},
		"no authorizations": {dir: dir, tpm: spec, challenge: bad, out: out, auth: bad},
	} {
		if err := answer(f); err == nil {
			t.Errorf("%s was answered", name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: an answer was written", name)
		}
	}
}
