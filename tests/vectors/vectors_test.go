// Package vectors holds the test vectors of the link, made by another implementation (README.md), and runs them against
// this one, in both directions where there are two.
package vectors

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pair is one line of a case: a key with text, or with bytes.
type pair struct {
	key, text string
	bytes     []byte
}

// vector is one case of a file.
type vector struct {
	name  string
	pairs []pair
}

// run reads a file and runs each of its cases as a subtest.
func run(t *testing.T, file string, test func(*testing.T, vector)) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cases := parse(t, string(b))
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", file)
	}
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] {
			t.Errorf("%s: two cases %s", file, c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) { test(t, c) })
	}
}

// parse reads the format that README.md describes.
func parse(t *testing.T, file string) (cases []vector) {
	t.Helper()
	for n, line := range strings.Split(file, "\n") {
		key, text, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case key == "case":
			cases = append(cases, vector{name: text})
		case len(cases) == 0:
			t.Fatalf("line %d stands before the first case", n+1)
		case strings.Contains("|+=*", line[:1]):
			c := cases[len(cases)-1].pairs
			last := &c[len(c)-1]
			last.bytes = append(last.bytes, lineBytes(t, key, text)...)
		default:
			c := &cases[len(cases)-1]
			c.pairs = append(c.pairs, pair{key: key, text: text})
		}
	}
	return cases
}

var escape = regexp.MustCompile(`\\(x[0-9a-f]{2}|\\)`)

func lineBytes(t *testing.T, mark, text string) []byte {
	t.Helper()
	switch mark {
	case "=":
		return unhex(t, strings.ReplaceAll(text, " ", ""))
	case "*":
		return runOf(t, strings.Replace(text, " ", "*", 1))
	}
	plain := escape.ReplaceAllStringFunc(text, func(s string) string {
		if s == `\\` {
			return `\`
		}
		return string(unhex(t, s[2:]))
	})
	if mark == "|" {
		plain += "\n"
	}
	return []byte(plain)
}

// runOf reads HEX or HEX*COUNT.
func runOf(t *testing.T, words string) []byte {
	t.Helper()
	raw, count, repeated := strings.Cut(words, "*")
	if !repeated {
		return unhex(t, raw)
	}
	return bytes.Repeat(unhex(t, raw), int(number(t, count)))
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// all gives the pairs with a key, in order.
func (v vector) all(key string) (found []pair) {
	for _, p := range v.pairs {
		if p.key == key {
			found = append(found, p)
		}
	}
	return found
}

// get gives the first pair with a key, or an empty one.
func (v vector) get(key string) pair {
	for _, p := range v.pairs {
		if p.key == key {
			return p
		}
	}
	return pair{}
}

// texts gives the texts of the pairs with a key.
func (v vector) texts(key string) (found []string) {
	for _, p := range v.all(key) {
		found = append(found, p.text)
	}
	return found
}

// refused reports whether the case wants a refusal, and whether this is it.
func (v vector) refused(t *testing.T, problem string) bool {
	t.Helper()
	want := v.get("error").text
	if problem != want {
		t.Errorf("refused as %q, want %q", problem, want)
	}
	return want != "" || problem != ""
}

// TestPeer runs the same vectors against the implementation in Python.
func TestPeer(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	peer := filepath.Join("..", "peer")
	for _, dir := range []string{peer, filepath.Join("..", "..", "docs", "spec")} {
		// Reads it, so that a cached result is not for another peer.
		if err := os.CopyFS(t.TempDir(), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), python, filepath.Join(peer, "peer.py"), "selftest", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
