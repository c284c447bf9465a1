package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Error says where a policy is wrong and what to write instead.
type Error struct {
	Line, Column int // 1-based; 0 when the policy as a whole is meant
	Reason       string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return "policy: " + e.Reason
	}
	return fmt.Sprintf("policy line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// file is the document as TOML decodes it, before any check of values.
type file struct {
	Version        uint64 `toml:"version"`
	Origin         string `toml:"origin"`
	Serial         uint64 `toml:"serial"`
	Previous       string `toml:"previous"`
	MaxSkew        string `toml:"max_skew"`
	MaxValidity    string `toml:"max_validity"`
	Administrators struct {
		Quorum uint64   `toml:"quorum"`
		Keys   []string `toml:"keys"`
	} `toml:"administrators"`
	Hosts []struct {
		Name string `toml:"name"`
		Key  string `toml:"key"`
	} `toml:"host"`
	Approvers []struct {
		Person string `toml:"person"`
		Key    string `toml:"key"`
	} `toml:"approver"`
	Keys []struct {
		Name      string `toml:"name"`
		Slot      string `toml:"slot"`
		Family    string `toml:"family"`
		Algorithm string `toml:"algorithm"`
	} `toml:"key"`
	Classes []fileClass `toml:"class"`
}

type fileClass struct {
	Name      string   `toml:"name"`
	Key       string   `toml:"key"`
	Hosts     []string `toml:"hosts"`
	Names     []string `toml:"names"`
	Formats   []string `toml:"formats"`
	MaxSize   string   `toml:"max_size"`
	Rates     []string `toml:"rates"`
	Approvals uint64   `toml:"approvals"`
	Batch     uint64   `toml:"batch"`
}

// kind is what a value must be; its text is for error messages.
type kind string

const (
	text   kind = "a string in plain double quotes"
	number kind = "a plain whole number"
	list   kind = "a list of strings in plain double quotes"
)

// field is a key a table must have, with an example for error messages.
type field struct {
	name    string
	kind    kind
	example string
}

const exampleKey = `"name+hash+base64"`

// schema lists every table and key there is; all keys are required, so that
// no rule is ever a silent default. "" is the top of the document.
var schema = map[string][]field{
	"": {
		{"version", number, "1"}, {"origin", text, `"touchmark.example/demo"`}, {"serial", number, "1"},
		{"previous", text, `""`}, {"max_skew", text, `"10m"`}, {"max_validity", text, `"24h"`},
	},
	"administrators": {{"quorum", number, "1"}, {"keys", list, "[" + exampleKey + "]"}},
	"host":           {{"name", text, `"repo1"`}, {"key", text, exampleKey}},
	"approver":       {{"person", text, `"alice"`}, {"key", text, exampleKey}},
	"key": {
		{"name", text, `"packages"`}, {"slot", text, `"9c"`}, {"family", text, `"openpgp-data"`}, {"algorithm", text, `"p256"`},
	},
	"class": {
		{"name", text, `"pacman-db"`}, {"key", text, `"packages"`}, {"hosts", list, `["repo1"]`},
		{"names", list, `["*.db.tar.gz"]`}, {"formats", list, `["openpgp-binary"]`}, {"max_size", text, `"4GiB"`},
		{"rates", list, `["60/1h"]`}, {"approvals", number, "0"}, {"batch", number, "16"},
	},
}

var tables = []string{"administrators", "host", "approver", "key", "class"}

// document is a decoded policy that still knows where everything stood.
type document struct {
	file  file
	where map[string]unstable.Position // by path: "class[0].names[1]"
}

func (d *document) errorf(path, format string, a ...any) *Error {
	at := d.where[path]
	return &Error{Line: at.Line, Column: at.Column, Reason: fmt.Sprintf(format, a...)}
}

// readDocument decodes TOML text in the narrow profile of docs/spec/policy.md.
func readDocument(b []byte) (*document, error) {
	if err := checkBytes(b); err != nil {
		return nil, err
	}
	d := &document{where: map[string]unstable.Position{}}
	w := &walker{doc: d, counts: map[string]int{}, seen: map[string]map[string]bool{"": {}}}
	w.p.Reset(b)
	for w.p.NextExpression() {
		if err := w.expression(w.p.Expression()); err != nil {
			return nil, err
		}
	}
	// The decoder sees what the walk cannot: syntax and repeated keys.
	dec := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := dec.Decode(&d.file); err != nil {
		return nil, decodeError(err)
	}
	if err := w.p.Error(); err != nil {
		return nil, &Error{Reason: err.Error()}
	}
	return d, w.missing()
}

// checkBytes refuses what notes, displays or other TOML readers could take
// for something else.
func checkBytes(b []byte) error {
	if len(b) > MaxText {
		return &Error{Reason: fmt.Sprintf("%d bytes, at most %d", len(b), MaxText)}
	}
	line, column := 1, 0
	for _, c := range b {
		if column++; c == '\n' {
			line, column = line+1, 0
			continue
		}
		if c < 0x20 || c > 0x7e {
			return &Error{line, column, fmt.Sprintf("byte %#02x: write plain ASCII, with spaces for tabs and newlines alone (no CR)", c)}
		}
	}
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return &Error{line, column + 1, "the last line needs a newline at its end"}
	}
	return nil
}

func decodeError(err error) error {
	var de *toml.DecodeError
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		de = &strict.Errors[0]
	} else if !errors.As(err, &de) {
		return &Error{Reason: err.Error()}
	}
	line, column := de.Position()
	return &Error{line, column, strings.TrimPrefix(de.Error(), "toml: ") + ": correct the TOML here"}
}

// walker visits the expressions of a document in order.
type walker struct {
	p      unstable.Parser
	doc    *document
	table  string                     // name of the present table, "" at the top
	path   string                     // its path, "" or "class[0]"
	counts map[string]int             // array tables so far
	seen   map[string]map[string]bool // path of a table → its keys
	order  []string                   // paths of tables in order
}

func (w *walker) expression(n *unstable.Node) error {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		return w.header(n)
	case unstable.KeyValue:
		return w.keyValue(n)
	}
	return nil
}

// key returns the only part of a key; dotted and quoted keys are refused.
func (w *walker) key(n *unstable.Node) (string, unstable.Position, error) {
	it := n.Key()
	it.Next()
	k := it.Node()
	at := w.p.Shape(k.Raw).Start
	if !it.IsLast() {
		return "", at, &Error{at.Line, at.Column, "write a table header instead of a key with dots"}
	}
	if string(w.p.Raw(k.Raw)) != string(k.Data) {
		return "", at, &Error{at.Line, at.Column, "write the key without quotes"}
	}
	return string(k.Data), at, nil
}

func (w *walker) header(n *unstable.Node) error {
	name, at, err := w.key(n)
	if err != nil {
		return err
	}
	array := n.Kind == unstable.ArrayTable
	switch {
	case name == "" || schema[name] == nil:
		return &Error{at.Line, at.Column, fmt.Sprintf("there is no table %q%s", name, orOneOf(name, tables))}
	case array && name == "administrators":
		return &Error{at.Line, at.Column, "write [administrators], there is only one"}
	case !array && name != "administrators":
		return &Error{at.Line, at.Column, fmt.Sprintf("write [[%s]] with two brackets, there can be several", name)}
	}
	w.table, w.path = name, name
	if array {
		w.path = fmt.Sprintf("%s[%d]", name, w.counts[name])
	}
	w.counts[name]++
	w.doc.where[w.path] = at
	if w.seen[w.path] == nil {
		w.seen[w.path] = map[string]bool{}
		w.order = append(w.order, w.path)
	}
	return nil
}

func (w *walker) keyValue(n *unstable.Node) error {
	name, at, err := w.key(n)
	if err != nil {
		return err
	}
	f, ok := find(schema[w.table], func(f *field) bool { return f.name == name })
	if !ok {
		names := make([]string, 0, len(schema[w.table]))
		for _, f := range schema[w.table] {
			names = append(names, f.name)
		}
		return &Error{at.Line, at.Column, fmt.Sprintf("there is no key %q here%s", name, orOneOf(name, names))}
	}
	path := strings.TrimPrefix(w.path+"."+name, ".")
	w.doc.where[path] = at
	w.seen[w.path][name] = true
	if !w.fits(n.Value(), f.kind, path) {
		return &Error{at.Line, at.Column, fmt.Sprintf("%s must be %s: write %s = %s", name, f.kind, name, f.example)}
	}
	return nil
}

// fits reports whether a value is of kind k and plainly written; it notes
// where the value, or each element of a list, stands.
func (w *walker) fits(v *unstable.Node, k kind, path string) bool {
	switch k {
	case number:
		u, err := strconv.ParseUint(string(v.Data), 10, 53)
		return v.Kind == unstable.Integer && err == nil && strconv.FormatUint(u, 10) == string(v.Data)
	case text:
		w.doc.where[path] = w.p.Shape(v.Raw).Start
		return v.Kind == unstable.String && string(w.p.Raw(v.Raw)) == `"`+string(v.Data)+`"`
	}
	it, i := v.Children(), 0
	for v.Kind == unstable.Array && it.Next() {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		if !w.fits(it.Node(), text, fmt.Sprintf("%s[%d]", path, i)) {
			return false
		}
		i++
	}
	return v.Kind == unstable.Array
}

// missing reports the first required key or table that is not there.
func (w *walker) missing() error {
	for _, path := range append([]string{""}, w.order...) {
		table, _, _ := strings.Cut(path, "[")
		for _, f := range schema[table] {
			if !w.seen[path][f.name] {
				return w.doc.errorf(path, "%s is missing: add %s = %s", f.name, f.name, f.example)
			}
		}
	}
	for _, t := range []string{"administrators", "host", "key", "class"} {
		if w.counts[t] == 0 {
			return &Error{Reason: fmt.Sprintf("the table %s is missing: see docs/spec/policy.md for an example", t)}
		}
	}
	return nil
}
