package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"touchmark/tpm/cli"
	"touchmark/tpm/ledgerstore/tiles"
)

// member is a row of a table of audit.md §4.
type member struct {
	kind     string
	optional bool
}

// schema takes the members of an object from audit.md.
func schema(t *testing.T, object string) map[string]member {
	t.Helper()
	page, err := os.ReadFile("../../../docs/spec/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "| **"+object+"** | type | |\n|---|---|---|\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	out := map[string]member{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\[?)`(\\w+)`\\]? \\| (\\w+) \\|").FindAllStringSubmatch(table, -1) {
		out[row[2]] = member{row[3], row[1] != ""}
	}
	if !found || len(out) != strings.Count(table, "\n")+1 {
		t.Fatalf("audit.md describes no object %q in this form", object)
	}
	return out
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case json.Number:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return "null"
}

// check holds an object to the page: every member is described and of its type,
// and none is missing.
func check(t *testing.T, what string, v any, want map[string]member) {
	t.Helper()
	got, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%s: %v is no object", what, v)
	}
	for name, v := range got {
		if m, ok := want[name]; !ok || m.kind != kindOf(v) {
			t.Errorf("%s: %s is a %s, described as %q", what, name, kindOf(v), m.kind)
		}
	}
	for name, m := range want {
		if _, ok := got[name]; !ok && !m.optional {
			t.Errorf("%s: %s is missing", what, name)
		}
	}
}

// objects runs a command that prints JSON.
func objects(t *testing.T, want int, args ...string) (out []any) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(args, &stdout, &stderr); code != want {
		t.Fatalf("%v: exit code %d, want %d: %s", args, code, want, stderr.String())
	}
	d := json.NewDecoder(&stdout)
	d.UseNumber()
	for d.More() {
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		t.Fatalf("%v printed nothing", args)
	}
	return out
}

// TestExportLosesNothing: the entries of an export are those of the tile, byte
// for byte, whatever they are.
func TestExportLosesNothing(t *testing.T) {
	dir := t.TempDir()
	want := [][]byte{[]byte("text\n"), {0xff, 0xfe, 0, '\n'}, []byte("<&>\u2028 \ufffd\n"), {'a', 0x80}}
	var bundle []byte
	for _, e := range want {
		bundle = tiles.AppendBundle(bundle, e)
	}
	path := filepath.Join(dir, "tile", "entries", "000.p", strconv.Itoa(len(want)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, bundle, 0o600)); err != nil {
		t.Fatal(err)
	}
	for i, v := range objects(t, cli.Clean, "export", dir) {
		check(t, "entry", v, schema(t, "entry"))
		m := v.(map[string]any)
		text, _ := m["entry"].(string)
		coded, _ := m["bytes"].(string)
		got, err := base64.StdEncoding.DecodeString(coded)
		if err != nil || i >= len(want) || text+string(got) != string(want[i]) {
			t.Errorf("entry %d: %q and %q (%v)", i, text, got, err)
		}
	}
}

// TestJSONIsAsTheSpecificationSays: what every command prints for programs has
// the members that audit.md lists, and no others.
func TestJSONIsAsTheSpecificationSays(t *testing.T) {
	example := "../../audit/testdata/example"
	log, trust := filepath.Join(example, "log"), filepath.Join(example, "trust")
	damaged := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(damaged, os.DirFS(log)); err != nil {
		t.Fatal(err)
	}
	tile := filepath.Join(damaged, "tile", "entries", "000.p", "14")
	b, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	b[9000] ^= 0x80 // no UTF-8 any more
	if err := os.WriteFile(tile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	entry := schema(t, "entry")
	for _, c := range []struct {
		name, object string
		code         int
		args         []string
	}{
		{"clean", "report", cli.Clean, []string{"verify", log, "--trust", trust, "--json"}},
		{"evidence", "report", cli.Evidence, []string{"verify", damaged, "--trust", trust, "--json"}},
		{"since", "report", cli.Clean, []string{"verify", log, "--trust", trust, "--json", "--since", filepath.Join(log, "checkpoint")}},
		{"show", "entry", cli.Clean, []string{"show", damaged, "--json"}},
		{"export", "entry", cli.Clean, []string{"export", log}},
		{"export damaged", "entry", cli.Clean, []string{"export", damaged}},
		{"proof", "entry", cli.Clean, []string{"verify-proof", filepath.Join(example, "demo.tmproof"), "--trust", trust, "--json"}},
		{"diff", "difference", cli.Clean, []string{"diff", log, log, "--trust", trust, "--json"}},
		{"published", "signature", cli.Warnings, []string{"published", t.TempDir(), "--log", log, "--trust", trust, "--all", "--json"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range objects(t, c.code, c.args...) {
				check(t, c.object, v, schema(t, c.object))
				if c.object == "report" {
					for _, f := range v.(map[string]any)["findings"].([]any) {
						check(t, "finding", f, schema(t, "finding"))
					}
				}
			}
		})
	}
	if !entry["entry"].optional || entry["index"].optional {
		t.Error("brackets are not read")
	}
}
