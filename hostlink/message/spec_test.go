package message

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func readSpec(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("../../docs/spec/message.md")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of the specification are golden: they were written down on
// 2026-11-21 and must never need to change.
func TestSpecExamples(t *testing.T) {
	examples := map[string][]byte{}
	for _, m := range regexp.MustCompile("(?ms)^```text example=([a-z-]+)\n(.*?)^```$").FindAllSubmatch(readSpec(t), -1) {
		examples[string(m[1])] = m[2]
	}
	for name, want := range samples() {
		got, ok := examples[name]
		if !ok {
			t.Errorf("the specification shows no example of %s", name)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the specification says\n%s\nthe code says\n%s", name, got, want)
		}
		if again, err := remarshal(got); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(examples) != len(samples()) {
		t.Errorf("%d examples of %d kinds", len(examples), len(samples()))
	}
}

func TestSpecKeys(t *testing.T) {
	for _, p := range []pair{repo1, alice} {
		if !bytes.Contains(readSpec(t), []byte("\n"+p.vkey+"\n")) {
			t.Errorf("the specification does not give %s", p.vkey)
		}
	}
}

// The specification's codes and domains are those of the code.
func TestSpecCodes(t *testing.T) {
	spec := string(readSpec(t))
	section := spec[strings.Index(spec, "## 6."):strings.Index(spec, "## 7.")]
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
	}
	codes := stringConstants(t, "codes.go", "Code")
	for _, c := range codes {
		if !strings.Contains(section, "| `"+c+"` |") {
			t.Errorf("refusal code %s is not in the specification", c)
		}
		if !ValidToken(c) {
			t.Errorf("refusal code %s is not a token", c)
		}
	}
	if len(codes) != len(documented) || len(codes) < 20 {
		t.Errorf("%d codes in the code, %d in the specification", len(codes), len(documented))
	}
	for _, e := range stringConstants(t, "wire.go", "Event") {
		if e != EventDomain && !strings.Contains(spec, "`"+e+"`") {
			t.Errorf("event state %s is not in the specification", e)
		}
	}
	for domain := range parsers {
		if !strings.Contains(spec, "`"+domain+"`") {
			t.Errorf("message %s is not in the specification", domain)
		}
	}
}

// Every named problem of texts and notes stands in the specification, in its
// own section, and the specification names no other.
func TestSpecProblems(t *testing.T) {
	spec := string(readSpec(t))
	for _, c := range []struct{ file, prefix, from, to string }{
		{"canon/reader.go", "", "is refused with one of these problems", "An artifact **name**"},
		{"note.go", "Note", "## 2.", "## 3."},
	} {
		section := spec[strings.Index(spec, c.from):strings.Index(spec, c.to)]
		problems := stringConstants(t, c.file, c.prefix)
		for _, p := range problems {
			if p != string(NoteAmbiguous) && !strings.Contains(section, "`"+p+"`") {
				t.Errorf("problem %s of %s is not in the specification", p, c.file)
			}
		}
		if len(problems) < 6 {
			t.Errorf("%d problems in %s", len(problems), c.file)
		}
	}
}

// stringConstants are the values of a file's string constants by prefix.
func stringConstants(t *testing.T, file, prefix string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return true
	})
	return out
}
