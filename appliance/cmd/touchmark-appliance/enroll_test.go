package main

import (
	"os"
	"path/filepath"
	"testing"

	"touchmark/tests/swtpm"
)

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
		"no policy":               {enrollFlags{policy: filepath.Join(dir, "none")}, 1},
		"no recipient":            {enrollFlags{policy: policy, keep: keepFlags{recipients: []string{"bob"}}}, 2},
		"a secret for nobody":     {enrollFlags{policy: policy, keep: keepFlags{manage: dir}}, 2},
		"a revocation for nobody": {enrollFlags{policy: policy, keep: keepFlags{revocations: dir}}, 2},
		"an expiry that is none":  {enrollFlags{policy: policy, keep: keepFlags{expires: "soon"}}, 2},
		"no predecessor":          {enrollFlags{policy: policy, predecessor: dir}, 1},
		"a short nonce":           {enrollFlags{policy: policy, nonce: "00"}, 2},
		"a TPM that is no file":   {enrollFlags{policy: policy, tpm: "tpm0"}, 4},
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
