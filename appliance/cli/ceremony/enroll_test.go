package ceremony

import (
	"os"
	"path/filepath"
	"testing"

	"touchmark/appliance/cli"
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
		if err := enroll(t.Context(), tt.f); err == nil || cli.ExitCode(&cli.RunError{Err: err}) != tt.code {
			t.Errorf("%s: %v, exit code %d", name, err, cli.ExitCode(&cli.RunError{Err: err}))
		}
	}
}
