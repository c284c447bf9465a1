package document

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type target struct {
	Title string `toml:"title"`
	Only  struct {
		Size uint64 `toml:"size"`
	} `toml:"only"`
	Things []struct {
		Name string   `toml:"name"`
		Tags []string `toml:"tags"`
	} `toml:"thing"`
}

var testSchema = []Table{
	{Fields: []Field{{Name: "title", Kind: Text, Example: `"x"`}}},
	{Name: "only", Fields: []Field{{Name: "size", Kind: Number, Example: "1"}}},
	{Name: "thing", Many: true, Optional: true, Fields: []Field{{Name: "name", Kind: Text, Example: `"a"`}, {Name: "tags", Kind: List, Example: `["b"]`}, {Name: "note", Kind: Text, Example: `"c"`, Optional: true}}},
}

const good = `# a comment
title = "The title" # and one behind

[only]
  size = 12
[[thing]] # first
name = ""
tags = []
[[thing]]
tags = [ # which
	"one", "two",

    # three is not there
    "four",
]
name = "second"
`

func read(text string) (*target, *Document, error) {
	var into target
	d, err := Read([]byte(text), 1000, testSchema, &into)
	return &into, d, err
}

func TestRead(t *testing.T) {
	got, d, err := read(strings.ReplaceAll(good, "\t", " "))
	if err != nil {
		t.Fatal(err)
	}
	if got.Title != "The title" || got.Only.Size != 12 || len(got.Things) != 2 || !reflect.DeepEqual(got.Things[1].Tags, []string{"one", "two", "four"}) {
		t.Errorf("%+v", got)
	}
	for path, want := range map[string]string{
		"title":            "policy line 2, column 9: x",
		"only":             "policy line 4, column 2: x",
		"only.size":        "policy line 5, column 3: x",
		"thing[0]":         "policy line 6, column 3: x",
		"thing[1].tags":    "policy line 10, column 1: x",
		"thing[1].tags[1]": "policy line 11, column 9: x",
		"thing[1].tags[2]": "policy line 14, column 5: x",
		"thing[1].name":    "policy line 16, column 8: x",
		"nowhere":          "policy: x",
	} {
		if got := d.Errorf(path, "%s", "x").Error(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	plain := strings.ReplaceAll(good, "\t", " ")
	for name, c := range map[string]struct{ old, new, want string }{
		"empty":             {plain, "", "the file is empty"},
		"tab":               {"  size", "\tsize", "line 5, column 1: byte 0x09"},
		"too long":          {"# a", strings.Repeat("#", 1001), "at most 1000"},
		"table twice":       {"[[thing]] # first", "[only]\nsize = 13\n[[thing]]", "line 6"},
		"repeated key":      {`name = ""`, "name = \"\"\nname = \"\"", "line 8, column 1"},
		"date":              {"12", "2026-11-21", "line 5, column 3: size must be a plain whole number: write size = 1"},
		"boolean":           {"12", "true", "size must be a plain whole number"},
		"infinity":          {"12", "inf", "size must be a plain whole number"},
		"number in list":    {`"one"`, "1", "tags must be a list of strings"},
		"escape in list":    {`"one"`, `"\u0031"`, "tags must be a list of strings"},
		"table for value":   {"12", "{a = 1}", "size must be a plain whole number"},
		"unfinished string": {`"second"`, `"second`, "line 16"},
		"unfinished list":   {"]\nname = \"second\"", "\nname = \"second\"", "line 16"},
		"two on one line":   {"size = 12", "size = 12 size = 13", "line 5"},
		"missing table":     {"[only]\n  size = 12\n", "", "the table only is missing"},
		"missing key":       {`name = ""`, "", `line 6, column 3: name is missing: add name = "a"`},
		"missing at top":    {"title = \"The title\"", "", `title is missing: add title = "x"`},
		"key after header":  {"[[thing]] # first", "title = \"x\"\n[[thing]]", `there is no key "title" here: it belongs above the first table`},
		"another table's":   {"  size = 12\n", "  size = 12\n  tags = []\n", `line 6, column 3: there is no key "tags" here: it belongs below [[thing]]`},
		"table as a value":  {"[only]\n  size = 12\n", "only = {size = 12}\n", "only is a table: write [only] on a line of its own, and its keys below it"},
	} {
		if !strings.Contains(plain, c.old) {
			t.Fatalf("%s: %q is not in the text", name, c.old)
		}
		_, _, err := read(strings.Replace(plain, c.old, c.new, 1))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}

// All mistakes are told at once, in the order of their places, and a misspelt
// word is not called missing besides.
func TestReadTellsAll(t *testing.T) {
	_, _, err := read("titel = \"x\"\n[onyl]\nwhat = 1\n[[thing]]\n[thing]\nname = 5\n\"tags\" = []\nx.y = 1\nz = 1\n[[thing]]\ntags = []\n")
	want := []string{
		`policy line 1, column 1: there is no key "titel" here: did you mean "title"?`,
		`policy line 2, column 2: there is no table "onyl": did you mean "only"?`,
		`policy line 4, column 3: name is missing: add name = "a"`,
		`policy line 4, column 3: tags is missing: add tags = ["b"]`,
		`policy line 5, column 2: write [[thing]] with two brackets, there can be several`,
		`policy line 6, column 1: name must be a string in plain double quotes: write name = "a"`,
		`policy line 7, column 1: write the key without quotes`,
		`policy line 8, column 1: write a table header instead of a key with dots`,
		`policy line 9, column 1: there is no key "z" here: choose from name, tags, note`,
		`policy line 10, column 3: name is missing: add name = "a"`,
	}
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if err.Error() != want[0]+" (and 9 more)" {
		t.Error(err)
	}
	if _, _, err := read(strings.Repeat("x = 1\n", 100)); !errors.As(err, &all) || len(all) != MaxErrors {
		t.Errorf("%d errors of a hundred", len(all))
	}
}

func TestDidYouMean(t *testing.T) {
	names := []string{"host", "approver", "key", "class"}
	for got, want := range map[string]string{
		"hots": "host", "hosts": "host", "aprover": "approver", "approvers": "approver", "kay": "key", "klass": "class", "KEY": "",
		"": "", "printer": "", "x": "", strings.Repeat("host", 100): "",
	} {
		s := DidYouMean(got, names)
		if want == "" && s != "" || want != "" && s != `: did you mean "`+want+`"?` {
			t.Errorf("%q: %q, want %q", got, s, want)
		}
	}
	if s := OrOneOf("printer", names); s != ": choose from host, approver, key, class" {
		t.Error(s)
	}
}

// A long value does not make a long error, and the advice survives.
func TestErrorsAreShort(t *testing.T) {
	_, _, err := read(strings.Repeat("k", 900) + " = 1\n")
	if err == nil || len(err.Error()) > 500 || !strings.HasSuffix(err.Error(), "choose from title (and 2 more)") {
		t.Errorf("%v", err)
	}
}

// FuzzRead: no input crashes, every error has its type.
func FuzzRead(f *testing.F) {
	f.Add(strings.ReplaceAll(good, "\t", " "))
	f.Fuzz(func(t *testing.T, s string) {
		_, d, err := read(s)
		var e *Error
		if err != nil && (!errors.As(err, &e) || d != nil) {
			t.Fatalf("%v, %v", d, err)
		}
	})
}
