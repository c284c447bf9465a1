package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
)

const spec = "../../docs/spec"

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// example takes a fenced block out of a page of the specification.
func example(t *testing.T, page, name string) []byte {
	t.Helper()
	_, rest, ok := bytes.Cut(read(t, filepath.Join(spec, page)), []byte("```text example="+name+"\n"))
	body, _, ok2 := bytes.Cut(rest, []byte("```"))
	if !ok || !ok2 {
		t.Fatalf("%s has no example %s", page, name)
	}
	return body
}

// The examples in the specification are the example log's files and verify.
func TestSpecExamples(t *testing.T) {
	trust, proof := example(t, "trust.md", "trust"), example(t, "proof.md", "proof")
	if !bytes.Equal(trust, read(t, "testdata/example/trust/trust")) || !bytes.Equal(proof, read(t, "testdata/example/demo.tmproof")) {
		t.Error("the specification shows other files than the example log has")
	}
	tr, err := anchor.OpenTrust(trust)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ledger.ParseProof(proof)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tr.VerifyProof(p); err != nil {
		t.Error(err)
	}
}

// audit.md explains every code there is, and no other.
func TestSpecListsAllCodes(t *testing.T) {
	page := string(read(t, filepath.Join(spec, "audit.md")))
	in := map[string]bool{}
	for _, file := range []string{"finding/codes.go", "../anchor/replay.go", "published/published.go"} {
		for _, m := range regexp.MustCompile(`\t\w+ +(?:State )?= +"([a-z-]+)"`).FindAllStringSubmatch(string(read(t, file)), -1) {
			in[m[1]] = true
			if !strings.Contains(page, "\n| `"+m[1]+"`") {
				t.Errorf("audit.md does not explain %s", m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+-[a-z-]+)`").FindAllStringSubmatch(page, -1) {
		if !in[m[1]] {
			t.Errorf("audit.md explains %s, which is no code", m[1])
		}
	}
	if len(in) < 45 {
		t.Errorf("only %d codes found", len(in))
	}
}
