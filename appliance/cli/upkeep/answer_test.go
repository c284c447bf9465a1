package upkeep

import (
	"os"
	"path/filepath"
	"testing"

	"touchmark/tests/swtpm"
)

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
