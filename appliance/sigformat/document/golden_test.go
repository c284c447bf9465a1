package document

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/strictjson"
)

// golden is a file of testdata: what stands in it was made or found on the date in
// its comment and is never made again.
type golden struct {
	name, format string
	file         []byte // as users have it
	kind         Kind
	meaning      string
}

func goldens(tb testing.TB) (all []golden) {
	tb.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) != 8 {
		tb.Fatalf("%d files, %v", len(paths), err)
	}
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil || len(a.Files) != 2 {
			tb.Fatalf("%s: %v", p, err)
		}
		name := strings.TrimSuffix(filepath.Base(p), ".txtar")
		all = append(all, golden{name, a.Files[0].Name, a.Files[0].Data, Kind(a.Files[1].Name), string(a.Files[1].Data)})
	}
	return all
}

// document is what the format is over.
func (g golden) document(tb testing.TB, format string) []byte {
	tb.Helper()
	f, ok := sigformat.FormatOf(format)
	doc, err := f.DocumentOf(g.file)
	if !ok || err != nil {
		tb.Fatalf("%s as %s: %v", g.name, format, err)
	}
	return doc
}

// TestGolden: what documents of every kind mean, in every format that is over such.
func TestGolden(t *testing.T) {
	others := map[Kind][]string{
		Layout:  {"in-toto-gpg", "in-toto-native", "dsse-in-toto"},
		Link:    {"in-toto-gpg", "in-toto-native", "dsse-in-toto"},
		Release: {"openpgp-binary", "openpgp-text", "openpgp-cleartext"},
	}
	for _, g := range goldens(t) {
		for _, format := range append(others[g.kind], g.format) {
			d, err := Parse(format, g.document(t, format))
			if err != nil || d.Kind != g.kind || strings.Join(d.Meaning, "\n")+"\n" != g.meaning {
				t.Errorf("%s as %s: %v, %s\n%s", g.name, format, err, d.Kind, strings.Join(d.Meaning, "\n"))
			}
		}
	}
}

// find is a golden file by name.
func find(tb testing.TB, name string) golden {
	tb.Helper()
	for _, g := range goldens(tb) {
		if g.name == name {
			return g
		}
	}
	tb.Fatalf("no testdata/%s.txtar", name)
	return golden{}
}

// value is the JSON in a golden file.
func (g golden) value(tb testing.TB) strictjson.Value {
	tb.Helper()
	v, err := strictjson.Parse(g.file)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// encoded is a value as the document of a format.
func encoded(tb testing.TB, format string, v strictjson.Value) []byte {
	tb.Helper()
	doc, err := strictjson.Canonical(v)
	if err != nil {
		doc = bytes.TrimSpace(strictjson.Text(v))
	}
	if f, _ := sigformat.FormatOf(format); f.Family == sigformat.FamilyDSSE {
		return f.PAE(doc)
	}
	return doc
}
