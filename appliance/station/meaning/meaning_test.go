package meaning

import (
	"os"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/policy"
)

func example(t *testing.T, edits ...string) *policy.Policy {
	t.Helper()
	text, err := os.ReadFile("../../policy/testdata/distribution.toml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]byte(strings.NewReplacer(edits...).Replace(string(text))))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The operator is told first, and in capitals, that it is not the
// administrators who ask.
func TestRecoveryIsSaidFirst(t *testing.T) {
	old, next := example(t), example(t, "serial = 2", "serial = 3")
	if lines := Policy(old, next); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "RECOVERY") }) {
		t.Errorf("an ordinary policy: %q", lines)
	}
	next.Recovered = true
	if lines := Policy(old, next); len(lines) < 2 || !strings.HasPrefix(lines[1], "RECOVERY: signed by the recovery keys, NOT by the administrators") {
		t.Errorf("%q", lines)
	}
}

// New recovery keys are a change like any other.
func TestRecoveryKeysAreShown(t *testing.T) {
	const safe = "safe+4a1dd73c+AaLyl96wIjSVbJ44TZSYTzj3246DxoEAqvAeXMT/8bMI"
	old := example(t)
	p := *old
	p.Recovery.Quorum, p.Recovery.Texts = 1, []string{safe}
	want := []string{"Recovery keys that must sign: 1 in place of 0.", "NEW recovery key " + safe + "."}
	if lines := Policy(old, &p); !slices.Equal(lines[1:], want) {
		t.Errorf("%q", lines)
	}
}

// How large a file may be is said as policies say it: nobody reads nine digits on a display.
func TestSizesAreReadable(t *testing.T) {
	old := example(t)
	changed := *old
	changed.Classes = slices.Clone(old.Classes)
	changed.Classes[0].MaxSize = 3 << 20
	for _, want := range []string{"at most 3MiB, rates", "at most " + policy.SizeText(old.Classes[0].MaxSize) + ", rates"} {
		if lines := Policy(old, &changed); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%q: %q", want, lines)
		}
	}
}

// A class that stops demanding documents is a change like any other.
func TestDocumentsAreShown(t *testing.T) {
	old := example(t, "batch = 16", "batch = 16\ndocuments = \"demanded\"")
	next := example(t, "serial = 2", "serial = 3")
	lines := Policy(old, next)
	if !slices.ContainsFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "CHANGED class pacman-db") && strings.HasSuffix(l, "batch 16, documents only).") && strings.Count(l, "documents only") == 1
	}) {
		t.Errorf("%q", lines)
	}
}
