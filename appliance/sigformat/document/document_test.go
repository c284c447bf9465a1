package document

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// refused wants an error of a kind at a place.
func refused(t *testing.T, name, format string, doc []byte, problem form.Problem, where string) {
	t.Helper()
	d, err := Parse(format, doc)
	var e *Error
	switch {
	case err == nil:
		t.Errorf("%s: taken, and means\n%s", name, strings.Join(d.Meaning, "\n"))
	case !errors.As(err, &e) || e.Problem != problem || e.Where != where || !printable(e.Error()):
		t.Errorf("%s: %#v, want %s at %s", name, err, problem, where)
	}
}

func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// at gives the object or list that holds the last part of a path, and that part.
func at(tb testing.TB, v strictjson.Value, path string) (strictjson.Value, string) {
	tb.Helper()
	parts := strings.Split(path, "/")
	for _, part := range parts[:len(parts)-1] {
		switch in := v.(type) {
		case *strictjson.Object:
			v, _ = in.Get(part)
		case strictjson.Array:
			i, err := strconv.Atoi(part)
			if err != nil {
				tb.Fatal(err)
			}
			v = in[i]
		}
	}
	return v, parts[len(parts)-1]
}

// put changes one value in a document.
func put(tb testing.TB, v strictjson.Value, path string, to strictjson.Value) {
	tb.Helper()
	in, last := at(tb, v, path)
	switch in := in.(type) {
	case *strictjson.Object:
		in.Set(last, to)
	case strictjson.Array:
		i, err := strconv.Atoi(last)
		if err != nil {
			tb.Fatal(err)
		}
		in[i] = to
	default:
		tb.Fatalf("%s: nothing there", path)
	}
}

// without takes a member away.
func without(tb testing.TB, v strictjson.Value, path string) strictjson.Value {
	tb.Helper()
	in, last := at(tb, v, path)
	o := in.(*strictjson.Object)
	kept := new(strictjson.Object)
	for _, m := range o.Members {
		if m.Name != last {
			kept.Set(m.Name, m.Value)
		}
	}
	*o = *kept
	return v
}

const (
	rsaID = "a29573721f7c1290417ed6581eabda3e256491e3"
	edID  = "9ed79cbfc07a6448bfd24c750522c5a3048c0ad9"
	subID = "a499c8de7fc8e587347bc9a5cd6ce63d198e57fc"
)

type (
	list = strictjson.Array
	num  = strictjson.Number
)

// TestLayoutRefused: each change of a good layout makes one that nobody is shown.
func TestLayoutRefused(t *testing.T) {
	for path, c := range map[string]struct {
		to    strictjson.Value
		where string
	}{
		"_type":                                {"Layout", "_type"},
		"more":                                 {"x", ""},
		"Steps":                                {list{}, ""}, // some readers do not tell it from steps
		"readme":                               {num("1"), "readme"},
		"expires":                              {"2028-11-22", "expires"},
		"expires ":                             {"x", ""},
		"steps":                                {nil, "steps"},
		"inspect":                              {new(strictjson.Object), "inspect"},
		"keys":                                 {list{}, "keys"},
		"steps/0":                              {list{}, "steps[0]"},
		"steps/0/_type":                        {"inspection", "steps[0]._type"},
		"steps/0/name":                         {"", "steps[0].name"},
		"steps/0/threshold":                    {num("0"), "steps[0].threshold"},
		"steps/0/pubkeys":                      {list{}, "steps[0].threshold"},
		"steps/0/pubkeys/0":                    {strings.ToUpper(rsaID), "steps[0].pubkeys[0]"},
		"steps/0/pubkeys/1":                    {rsaID, "steps[0].pubkeys[1]"},
		"steps/0/more":                         {true, "steps[0]"},
		"steps/0/expected_command":             {"make", "steps[0].expected_command"},
		"steps/0/expected_products":            {list{list{}}, "steps[0].expected_products[0]"},
		"steps/0/expected_products/0":          {list{"ALLOW"}, "steps[0].expected_products[0]"},
		"steps/0/expected_products/1":          {list{"PERMIT", "*"}, "steps[0].expected_products[1]"},
		"inspect/0/name":                       {"rebuild", "inspect[0].name"},
		"inspect/0/run":                        {list{num("1")}, "inspect[0].run[0]"},
		"inspect/0/expected_materials/0":       {list{"MATCH", "*", "WITH", "PRODUCTS"}, "inspect[0].expected_materials[0]"},
		"keys/" + rsaID + "/keyid":             {edID, "keys." + rsaID},
		"keys/" + rsaID + "/creation_time":     {num("1795346255"), "keys." + rsaID},
		"keys/" + rsaID + "/hashes":            {list{"x"}, "keys." + rsaID + ".hashes"},
		"keys/" + rsaID + "/type":              {"ecdsa", "keys." + rsaID + ".type"},
		"keys/" + rsaID + "/method":            {"pgp+eddsa-ed25519", "keys." + rsaID + ".method"},
		"keys/" + rsaID + "/validity_period":   {num("-1"), "keys." + rsaID + ".validity_period"},
		"keys/" + rsaID + "/keyval/private":    {"00", "keys." + rsaID + ".keyval.private"},
		"keys/" + rsaID + "/keyval/public/e":   {"010003", "keys." + rsaID},
		"keys/" + rsaID + "/keyval/public/n":   {"zz", "keys." + rsaID + ".keyval.public.n"},
		"keys/" + rsaID + "/keyval/public/q":   {"00", "keys." + rsaID + ".keyval.public"},
		"keys/" + edID + "/keyval/public/q":    {strings.Repeat("00", 31), "keys." + edID + ".keyval.public.q"},
		"keys/" + rsaID + "/subkeys/" + subID:  {new(strictjson.Object), "keys." + rsaID + ".subkeys." + subID},
		"keys/" + rsaID + "/subkeys/" + edID:   {new(strictjson.Object), "keys." + rsaID + ".subkeys." + edID},
		"rootcas":                              {list{"x"}, "rootcas"},
		"intermediatecas":                      {nil, "intermediatecas"},
		"steps/0/cert_constraints":             {list{new(strictjson.Object)}, "steps[0].cert_constraints"},
		"keys/0000":                            {new(strictjson.Object), "keys.0000"},
		"keys/" + rsaID + "/subkeys/\x1b[2J\n": {nil, "keys." + rsaID + `.subkeys."\x1b[2J\n"`},
	} {
		v := find(t, "layout-openpgp").value(t)
		put(t, v, path, c.to)
		refused(t, path, "in-toto-gpg", encoded(t, "in-toto-gpg", v), form.Content, c.where)
	}
	for path, where := range map[string]string{"steps": "", "expires": "", "steps/0/threshold": "steps[0]", "keys/" + edID: "steps[0].pubkeys[1]",
		"keys/" + rsaID + "/keyval": "keys." + rsaID, "inspect/0/run": "inspect[0]", "readme": ""} {
		refused(t, "without "+path, "in-toto-native", encoded(t, "in-toto-native", without(t, find(t, "layout-openpgp").value(t), path)), form.Content, where)
	}
	for _, threshold := range []string{"0", "-1", "3"} {
		v := find(t, "layout-openpgp").value(t)
		put(t, v, "steps/0/threshold", num(threshold))
		refused(t, threshold, "dsse-in-toto", encoded(t, "dsse-in-toto", v), form.Content, "steps[0].threshold")
	}
}

// TestLayoutOfAnotherLibrary: in-toto's Go library has lists that others do not,
// which mean nothing if they are empty.
func TestLayoutOfAnotherLibrary(t *testing.T) {
	v := find(t, "layout-openpgp").value(t)
	for _, path := range []string{"rootcas", "intermediatecas", "steps/0/cert_constraints"} {
		put(t, v, path, list{})
	}
	d, err := Parse("in-toto-native", encoded(t, "in-toto-native", v))
	if err != nil || strings.Join(d.Meaning, "\n")+"\n" != find(t, "layout-openpgp").meaning {
		t.Errorf("%v\n%s", err, strings.Join(d.Meaning, "\n"))
	}
}

// TestClaimedIds: older versions of in-toto left out what an id is made of; it is
// then shown as what it is, a claim, and the key itself beside it.
func TestClaimedIds(t *testing.T) {
	v := find(t, "layout-openpgp").value(t)
	for _, key := range []string{edID, rsaID + "/subkeys/" + subID} {
		without(t, v, "keys/"+key+"/creation_time")
	}
	d, err := Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v))
	text := strings.Join(d.Meaning, "\n")
	for _, want := range []string{
		"    " + edID + "\n      claimed: it cannot be computed from the key\n",
		"    " + subID + "\n      a subkey of " + rsaID + "\n      claimed: it cannot be computed from the key\n",
		"key " + edID + "\n  OpenPGP eddsa, does not expire\n  without creation_time its id is only claimed; SHA-256 of the key:\n    ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%v, no %q in\n%s", err, want, text)
		}
	}
	if strings.Count(text, "claimed") != 4 {
		t.Errorf("the other keys are claimed too:\n%s", text)
	}
	for _, id := range []string{"x", "", strings.ToUpper(edID), edID + "00"} {
		v := find(t, "layout-openpgp").value(t)
		k, _ := at(t, v, "keys/"+edID+"/x")
		without(t, k, "creation_time")
		put(t, k, "keyid", id)
		without(t, v, "keys/"+edID)
		put(t, v, "keys/"+id, k)
		put(t, v, "steps/0/pubkeys/1", id)
		if d, err := Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v)); err == nil {
			t.Errorf("%s is taken for an id:\n%s", id, strings.Join(d.Meaning, "\n"))
		}
	}
}

// TestNativeKeys: an id is the hash of its key, in the form of either generation of
// the library.
func TestNativeKeys(t *testing.T) {
	keys := func(tb testing.TB, v strictjson.Value) (*strictjson.Object, *strictjson.Object, string) {
		all, _ := at(tb, v, "keys/x")
		o := all.(*strictjson.Object)
		return o, o.Members[0].Value.(*strictjson.Object), o.Members[0].Name
	}
	for name, c := range map[string]struct {
		change func(tb testing.TB, v strictjson.Value)
		good   bool
	}{
		"as it is": {func(testing.TB, strictjson.Value) {}, true},
		"another key": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "keyval/public", "another")
		}, false},
		"another scheme": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "scheme", "another")
		}, false},
		"private": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "keyval/private", "secret")
		}, false},
		"private but empty": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "keyval/private", "")
		}, true},
		"without hash algorithms": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			without(tb, k, "keyid_hash_algorithms")
		}, true},
		"other hash algorithms": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "keyid_hash_algorithms", list{"sha256"})
		}, false},
		"a number for a type": {func(tb testing.TB, v strictjson.Value) {
			_, k, _ := keys(tb, v)
			put(tb, k, "keytype", num("1"))
		}, false},
		"newer id": {func(tb testing.TB, v strictjson.Value) {
			all, k, old := keys(tb, v)
			newer := new(strictjson.Object)
			for _, name := range []string{"keytype", "keyval", "scheme"} {
				m, _ := k.Get(name)
				newer.Set(name, m)
			}
			id := hashOf(newer)
			put(tb, k, "keyid", id)
			without(tb, all, old)
			all.Set(id, k)
			ids, _ := at(tb, v, "steps/0/pubkeys/0")
			for i, known := range ids.(list) {
				if known == old {
					ids.(list)[i] = id
				}
			}
		}, true},
	} {
		v := find(t, "layout-native").value(t)
		c.change(t, v)
		if _, err := Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v)); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLinkRefused and statements: likewise.
func TestLinkRefused(t *testing.T) {
	const deb = "hello_2.10-3_amd64.deb"
	for path, c := range map[string]struct {
		to    strictjson.Value
		where string
	}{
		"_type":                       {"layout", ""},
		"name":                        {"", "name"},
		"more":                        {nil, ""},
		"command":                     {"make", "command"},
		"byproducts":                  {list{}, "byproducts"},
		"environment":                 {nil, "environment"},
		"products":                    {nil, "products"},
		"products/" + deb:             {new(strictjson.Object), "products." + deb},
		"products/" + deb + "/md5":    {"", "products." + deb + ".md5"},
		"products/" + deb + "/sha1":   {"AA", "products." + deb + ".sha1"},
		"products/" + deb + "/sha256": {"aa", "products." + deb + ".sha256"},
		"materials/a":                 {list{}, "materials.a"},
	} {
		v := find(t, "link").value(t)
		put(t, v, path, c.to)
		refused(t, path, "in-toto-native", encoded(t, "in-toto-native", v), form.Content, c.where)
	}
}

func TestStatementRefused(t *testing.T) {
	for path, c := range map[string]struct {
		to    strictjson.Value
		where string
	}{
		"_type":                   {"https://in-toto.io/Statement/v2", "_type"},
		"more":                    {nil, ""},
		"predicateType":           {"", "predicateType"},
		"predicate":               {list{}, "predicate"},
		"subject":                 {list{}, "subject"},
		"subject/0":               {nil, "subject[0]"},
		"subject/0/more":          {nil, "subject[0]"},
		"subject/0/name":          {nil, "subject[0].name"},
		"subject/0/digest":        {new(strictjson.Object), "subject[0].digest"},
		"subject/0/digest/sha256": {"aa", "subject[0].digest.sha256"},
		"subject/0/content":       {list{}, "subject[0].content"},
		"subject/0/annotations":   {"x", "subject[0].annotations"},

		"predicate/runDetails":            {"x", "predicate.runDetails"},
		"predicate/runDetails/builder":    {list{}, "predicate.runDetails.builder"},
		"predicate/runDetails/builder/id": {strictjson.Number("1"), "predicate.runDetails.builder.id"},
	} {
		v := find(t, "statement-v1").value(t)
		put(t, v, path, c.to)
		refused(t, path, "dsse-in-toto", encoded(t, "dsse-in-toto", v), form.Content, c.where)
	}
	old := find(t, "statement-v1").value(t)
	put(t, old, "_type", statementV01)
	refused(t, "v0.1 with members of v1", "dsse-in-toto", encoded(t, "dsse-in-toto", old), form.Content, "subject[1]")
	put(t, old, "subject", list{at0(t, old)})
	if d, err := Parse("dsse-in-toto", encoded(t, "dsse-in-toto", old)); err != nil || d.Meaning[0] != "in-toto statement v0.1" {
		t.Errorf("v0.1: %v, %q", err, d.Meaning)
	}
}

// TestWhoVouches: of the predicates of SLSA a person sees who built or verified, whatever that is called, or that nobody
// says so.
func TestWhoVouches(t *testing.T) {
	object := func(text string) strictjson.Value {
		v, err := strictjson.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ kind, predicate, want string }{
		{"provenance/v1", `{"runDetails":{"builder":{"id":"https://b.example"}},"buildDefinition":{"buildType":"t"}}`, "builder: https://b.example|build type: t|3 subjects"},
		{"provenance/v1", `{"runDetails":{"builder":{}},"builder":"evil"}`, `builder: not said|build type: not said|3 subjects`},
		{"provenance/v0.2", `{"builder":{"id":"https://b.example builder: x"},"buildType":"t"}`, `builder: "https://b.example builder: x"|3 subjects`},
		{"provenance/v0.1", `{"builder":{"id":""},"recipe":{"type":"t"}}`, `builder: ""|build type: t|3 subjects`},
		{"verification_summary/v1", `{"verifier":{"id":"https://v.example"}}`, "verifier: https://v.example|3 subjects"},
		{"provenance/v9", `{"builder":{"id":"https://b.example"}}`, "3 subjects"},
	} {
		v := find(t, "statement-v1").value(t)
		put(t, v, "predicateType", "https://slsa.dev/"+c.kind)
		put(t, v, "predicate", object(c.predicate))
		d, err := Parse("dsse-in-toto", encoded(t, "dsse-in-toto", v))
		if all := strings.Join(d.Meaning, "|"); err != nil || !strings.Contains(all, "|predicate: https://slsa.dev/"+c.kind+"|"+c.want) {
			t.Errorf("%s: %v, %s", c.kind, err, all)
		}
	}
}

// TestAllDigestsAreShown: readers take an artifact for the one that is meant if one of
// its digests is its own; so one that is not shown could be of another. What else a
// subject has does not stand where its name would.
func TestAllDigestsAreShown(t *testing.T) {
	v := find(t, "statement-v1").value(t)
	put(t, v, "subject/0/digest/sha384", strings.Repeat("cd", 48))
	put(t, v, "subject/0/digest/gitCommit", strings.Repeat("ef", 20))
	put(t, v, "subject/0/content", "ZXZpbA==")
	put(t, v, "subject/0/annotations", digestOf("00"))
	put(t, v, "subject/0/mediaType", "text/plain")
	d, err := Parse("dsse-in-toto", encoded(t, "dsse-in-toto", v))
	want := []string{
		"  hello_2.10-3_amd64.deb",
		"    4da1e83ffcf7c0a33bd3f9a86e2c54c6ee6ad8f4a0d2f4e5a6ebd1a1e3e1d8cb",
		"    sha384 " + strings.Repeat("cd", 30) + "c",
		"      | d" + strings.Repeat("cd", 17),
		"    weak: gitCommit " + strings.Repeat("ef", 20),
		"    mediaType: text/plain",
		"    content: ZXZpbA==",
		"    1 annotation",
	}
	if err != nil || !strings.Contains(strings.Join(d.Meaning, "\n"), strings.Join(want, "\n")) {
		t.Errorf("%v:\n%s", err, strings.Join(d.Meaning, "\n"))
	}
}

// at0 is the first subject.
func at0(tb testing.TB, v strictjson.Value) strictjson.Value {
	subjects, _ := at(tb, v, "subject/0")
	return subjects.(list)[0]
}

// TestEncodingRefused: bytes that two readers could take for two things.
func TestEncodingRefused(t *testing.T) {
	const pae = "DSSEv1 28 application/vnd.in-toto+json "
	for _, c := range []struct{ format, doc, where string }{
		{"in-toto-gpg", ``, "byte 0"},
		{"in-toto-gpg", `{"_type":"link","_type":"layout"}`, "byte 23"},
		{"in-toto-gpg", `{"a":1} `, "byte 7"},
		{"in-toto-gpg", ` {"a":1}`, "byte 0"},
		{"in-toto-gpg", `{"a":1}x`, "byte 7"},
		{"in-toto-gpg", `{"a":1}{"a":1}`, "byte 7"},
		{"in-toto-gpg", `{"a": 1}`, "byte 5"},
		{"in-toto-gpg", `{"b":1,"a":1}`, "byte 2"},
		{"in-toto-gpg", `{"a":"\u0061"}`, "byte 6"},
		{"in-toto-gpg", `{"a":"\/"}`, "byte 6"},
		{"in-toto-gpg", `{"a":"\n"}`, "byte 6"},
		{"in-toto-gpg", `{"a":-0}`, "byte 5"},
		{"in-toto-gpg", `{"a":01}`, "byte 6"},
		{"in-toto-gpg", `{"a":1.0}`, "byte 5"},
		{"in-toto-gpg", `{"a":1e3}`, "byte 5"},
		{"in-toto-gpg", `{"a":9007199254740993}`, "byte 5"},
		{"in-toto-gpg", "{\"a\":\"\xff\"}", "byte 6"},
		{"in-toto-gpg", "{\"a\":\"\x00\"}", "byte 6"},
		{"in-toto-native", strings.Repeat("[", 40) + strings.Repeat("]", 40), "byte 32"},
		{"dsse-in-toto", `{}`, ""},
		{"dsse-in-toto", pae + `3 {}`, ""},
		{"dsse-in-toto", "DSSEv1 29 application/vnd.in-toto+jsonx 2 {}", ""},
		{"dsse-cyclonedx", pae + `2 {}`, ""},
		{"dsse-in-toto", pae + `13 {"a":1,"a":2}`, "byte 10"},
		{"dsse-in-toto", pae + `6 {}\n{}`, "byte 2"},
	} {
		refused(t, c.format+" "+c.doc, c.format, []byte(c.doc), form.Encoding, c.where)
	}
	refused(t, "no type", "in-toto-gpg", []byte(`{"a":1}`), form.Content, "_type")
	refused(t, "no object", "in-toto-gpg", []byte(`[]`), form.Content, "_type")
	refused(t, "no object", "dsse-cyclonedx", []byte("DSSEv1 30 application/vnd.cyclonedx+json 2 []"), form.Content, "")
	refused(t, "a statement as metadata", "in-toto-gpg", []byte(`{"_type":"https://in-toto.io/Statement/v1"}`), form.Content, "_type")
	for _, format := range []string{"sshsig-git", "raw-boot", "", "cms", "in-toto", "\x1b[2J"} {
		refused(t, format, format, []byte(`{}`), form.Forbidden, "")
	}
	for _, format := range []string{"in-toto-gpg", "dsse-in-toto", "openpgp-binary"} {
		refused(t, format, format, make([]byte, message.MaxDocument+1), form.TooLarge, "")
	}
}

// TestMuchIsCountedOrRefused: what a person is not shown, is said to be there; who
// could hide an authorisation in a crowd, is refused.
func TestMuchIsCountedOrRefused(t *testing.T) {
	v := find(t, "link").value(t)
	for i := range 100 {
		put(t, v, fmt.Sprintf("products/p%02d", i), digestOf("00"))
		put(t, v, fmt.Sprintf("materials/m%02d", i), digestOf("00"))
	}
	d, err := Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v))
	if text := strings.Join(d.Meaning, "\n"); err != nil || !strings.Contains(text, "101 products\n") || !strings.Contains(text, "  and 77 products more\n101 materials") {
		t.Errorf("%v:\n%s", err, text)
	}
	v = find(t, "link").value(t)
	put(t, v, "name", strings.Repeat("x", 20000))
	refused(t, "a long name", "in-toto-gpg", encoded(t, "in-toto-gpg", v), form.Unreadable, "")

	v = find(t, "layout-openpgp").value(t)
	steps, _ := at(t, v, "steps/0")
	many := steps.(list)
	for i := range 30 {
		step := new(strictjson.Object)
		for _, m := range many[0].(*strictjson.Object).Members {
			step.Set(m.Name, m.Value)
		}
		step.Set("name", fmt.Sprint("step", i))
		many = append(many, step)
	}
	put(t, v, "steps", many)
	refused(t, "many steps", "in-toto-gpg", encoded(t, "in-toto-gpg", v), form.Unreadable, "")

	v = find(t, "layout-openpgp").value(t)
	put(t, v, "readme", strings.Repeat("é", 1000))
	d, err = Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v))
	if text := strings.Join(d.Meaning, "\n"); err != nil || !strings.Contains(text, "(and 1840 more bytes)") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestDocumentsCostLittle: whatever a document has many of, it is read with effort
// that is in proportion to its length.
func TestDocumentsCostLittle(t *testing.T) {
	const times = 512 // its length
	many := func(n int, each func(i int) string) string {
		var all []string
		for i := range n {
			all = append(all, each(i))
		}
		return strings.Join(all, ",")
	}
	layout := string(find(t, "layout-openpgp").document(t, "in-toto-gpg"))
	link := string(find(t, "link").document(t, "in-toto-gpg"))
	fill := func(doc, before string, each func(i int) string) string {
		n := (message.MaxDocument - len(doc)) / (len(each(9999)) + 1)
		if !strings.Contains(doc, before) {
			t.Fatalf("no %s", before)
		}
		return strings.Replace(doc, before, before+many(n, each)+",", 1)
	}
	id := `"` + rsaID + `"`
	for name, doc := range map[string]string{
		"a key again and again": fill(layout, `"pubkeys":[`, func(int) string { return id }),
		"unknown keys":          fill(layout, `"pubkeys":[`, func(int) string { return `""` }),
		"other unknown keys":    fill(layout, `"pubkeys":[`, func(i int) string { return fmt.Sprintf("%q", fmt.Sprint(i)) }),
		"keys":                  fill(layout, `"keys":{`, func(i int) string { return fmt.Sprintf(`"%04d":{}`, i) }),
		"steps":                 fill(layout, `"steps":[`, func(int) string { return `{}` }),
		"rules":                 fill(layout, `"expected_products":[`, func(int) string { return `[]` }),
		"good rules":            fill(layout, `"expected_products":[`, func(int) string { return `["ALLOW",""]` }),
		"products":              fill(link, `"products":{`, func(i int) string { return fmt.Sprintf(`"!%04d":{}`, i) }),
		"words":                 fill(link, `"command":[`, func(int) string { return `""` }),
		"one text":              strings.Replace(link, `"name":"`, `"name":"`+strings.Repeat(" ", message.MaxDocument-len(link)), 1),
		"nothing but lists":     strings.Repeat("[", 8<<10),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Parse("in-toto-gpg", []byte(doc))
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > times*message.MaxDocument {
			t.Errorf("%s: %d bytes allocated for a document of %d", name, cost, len(doc))
		}
	}
}

func digestOf(byte string) *strictjson.Object {
	o := new(strictjson.Object)
	o.Set("sha256", strings.Repeat(byte, 32))
	return o
}

// TestDeceptiveText: what is written to look like the appliance's own lines, to move
// a cursor or like another name, is shown as what it is.
func TestDeceptiveText(t *testing.T) {
	for text, shown := range map[string]string{
		"a":                      "a",
		"a b":                    `"a b"`,
		"":                       `""`,
		`"a"`:                    `"\"a\""`,
		`a\u0062`:                `"a\\u0062"`,
		"x\nstep 2 of 2: deploy": `"x\nstep 2 of 2: deploy"`,
		"\x1b[2Jx":               `"\x1b[2Jx"`,
		"p\u0430ypal":            `"p\u0430ypal"`, // a Cyrillic letter
		"a\u202etxt.exe":         `"a\u202etxt.exe"`,
		"e\u0301":                `"e\u0301"`,
		"\u00a0":                 `"\u00a0"`,
		"\U000e0061":             `"\U000e0061"`,
	} {
		if got := form.Show(text); got != shown {
			t.Errorf("%q is shown as %s", text, got)
		}
		v := find(t, "link").value(t)
		put(t, v, "name", text)
		d, err := Parse("in-toto-native", encoded(t, "in-toto-native", v))
		if text == "" {
			continue // has no step of its own
		}
		if err != nil || d.Meaning[0] != "in-toto link of step "+shown || len(d.Meaning) != 8 {
			t.Errorf("%q: %v, %q", text, err, d.Meaning)
		}
	}
}

// fits reports whether lines are fit for a console.
func fits(lines []string) error {
	if len(lines) == 0 || len(lines) > form.MaxLines {
		return fmt.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > form.MaxColumns || !printable(l) || strings.TrimSpace(l) == "" || strings.HasSuffix(l, " ") {
			return fmt.Errorf("line %q", l)
		}
	}
	return nil
}

// TestLinesProperty: whatever strings a link has, its lines fit a console, say the
// number of products, and only wrapped lines begin as such.
func TestLinesProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringN(1, 300, 300).Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
		v := find(t, "link").value(t)
		put(t, v, "name", text.Draw(r, "name"))
		names := rapid.SliceOfNDistinct(text, 0, 30, rapid.ID).Draw(r, "products")
		products := new(strictjson.Object)
		for _, n := range names {
			products.Set(n, digestOf("ab"))
		}
		put(t, v, "products", products)
		d, err := Parse("in-toto-gpg", encoded(t, "in-toto-gpg", v))
		var e *Error
		if errors.As(err, &e) && e.Problem == form.Unreadable {
			return
		}
		if err != nil || fits(d.Meaning) != nil {
			r.Fatalf("%v, %v", err, fits(d.Meaning))
		}
		listed := 0
		for _, l := range d.Meaning {
			if l == "    "+strings.Repeat("ab", 32) {
				listed++
			}
		}
		if listed != min(len(names), maxArtifacts) {
			r.Fatalf("%d of %d products listed", listed, len(names))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.format, g.document(f, g.format))
	}
	f.Fuzz(func(t *testing.T, format string, doc []byte) {
		d, err := Parse(format, doc)
		var e *Error
		switch {
		case err != nil && (!errors.As(err, &e) || !printable(e.Error()) || len(e.Error()) > 1000):
			t.Fatalf("%#v", err)
		case err == nil && fits(d.Meaning) != nil:
			t.Fatal(fits(d.Meaning))
		case err == nil && strings.HasPrefix(format, "in-toto-"):
			v, err := strictjson.ParseCanonical(doc)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := strictjson.Canonical(v); err != nil || string(again) != string(doc) {
				t.Fatalf("%v: %q is canonical as %q", err, doc, again)
			}
		}
	})
}

// TestExpiry: what is left of a document's time is said beside the time itself.
func TestExpiry(t *testing.T) {
	layout := find(t, "layout-openpgp")
	d, err := Parse("in-toto-gpg", layout.document(t, "in-toto-gpg"))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2028, 11, 22, 0, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]string{
		730 * 24 * time.Hour: "expires 730 days from now", 47 * time.Hour: "expires 47 hours from now", time.Hour: "expires 1 hour from now", 1: "expires 0 hours from now",
		0: "EXPIRED 0 hours ago", -time.Hour: "EXPIRED 1 hour ago", -50 * 24 * time.Hour: "EXPIRED 50 days ago",
	} {
		lines := d.At(end.Add(-left))
		if lines[1] != want || lines[0] != d.Meaning[0] || len(lines) != len(d.Meaning)+1 || lines[2] != d.Meaning[1] {
			t.Errorf("%s before: %q, want %q", left, lines[:3], want)
		}
	}
	far := Document{Meaning: []string{"layout"}, Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} // further than a Duration goes
	if lines := far.At(end); lines[1] != "expires 2911386 days from now" {
		t.Errorf("%q", lines)
	}
	far.Expires = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
	if lines := far.At(end); lines[1] != "EXPIRED 740671 days ago" {
		t.Errorf("%q", lines)
	}
	for name, want := range map[string]string{"release-dak": "2024-06-08T07:05:44Z", "link": "0001-01-01T00:00:00Z", "statement-v1": "0001-01-01T00:00:00Z"} {
		g := find(t, name)
		d, err := Parse(g.format, g.document(t, g.format))
		if err != nil || d.Expires.Format(time.RFC3339) != want || (len(d.At(end)) == len(d.Meaning)) != d.Expires.IsZero() {
			t.Errorf("%s: %v, %s", name, err, d.Expires)
		}
	}
}
