package policy

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
)

func readSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/spec/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func specExample(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?ms)^```[a-z]+ example=" + regexp.QuoteMeta(name) + "\n(.*?)^```$").FindStringSubmatch(readSpec(t))
	if m == nil {
		t.Fatalf("the specification shows no %s", name)
	}
	return m[1]
}

// The examples of the specification are the shipped policies, and golden:
// written down on 2026-11-21, their hash and signature must never change.
func TestSpecExamples(t *testing.T) {
	for _, name := range []string{"arch.toml", "distribution.toml"} {
		if got, want := specExample(t, name), readExample(t, name); got != want {
			t.Errorf("%s: the specification shows\n%s\nthe file says\n%s", name, got, want)
		}
	}
	text := specExample(t, "arch.toml")
	p, err := Open([]byte(text + "\n" + specExample(t, "arch.note")))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(specExample(t, "arch.hash")); got != hex.EncodeToString(p.Hash[:]) {
		t.Errorf("hash %x, the specification says %s", p.Hash, got)
	}
}

// Every key, table, family, algorithm and format of the code is specified.
func TestSpecVocabulary(t *testing.T) {
	spec := readSpec(t)
	words := append(append([]string{}, families...), algorithms...)
	for _, table := range schema {
		if table.Name != "" && !strings.Contains(spec, "["+table.Name+"]") {
			t.Errorf("table %s is not in the specification", table.Name)
		}
		for _, f := range table.Fields {
			words = append(words, f.Name)
		}
	}
	words = append(words, sigformat.FormatNames()...)
	for _, w := range words {
		if !strings.Contains(spec, "`"+w+"`") {
			t.Errorf("%s is not in the specification", w)
		}
	}
}

// A reader of the profile needs no TOML library: this one, a few lines long,
// finds in the examples what Parse finds.
func TestProfileIsReadableWithoutTOML(t *testing.T) {
	for _, name := range []string{"arch.toml", "distribution.toml"} {
		text := readExample(t, name)
		var classes []string
		table := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[[") {
				table = strings.Trim(line, "[]")
			}
			if v, ok := strings.CutPrefix(line, "name = "); ok && table == "class" {
				classes = append(classes, strings.Trim(v, `"`))
			}
		}
		if got, want := strings.Join(classes, " "), strings.Join(mustPolicy(t, text).classNames(), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
