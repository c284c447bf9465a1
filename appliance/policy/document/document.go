// Package document reads the narrow profile of TOML in which policies are
// written (docs/spec/policy.md section 1) and remembers where everything
// stood, so that whoever checks the values can say line and column.
//
// The profile is smaller than TOML so that all readers agree about a signed
// text: ASCII only, bare keys without dots, no inline tables, strings in
// double quotes without escapes, plain decimal numbers, lists of strings.
// Every key of the schema is required and no other is known, exactly as
// spelt. go-toml/v2 decodes; its strict mode and its check for repeated keys
// hold too. The package is pure.
package document

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

// maxReason bounds what is shown of a reason: it may quote a value of any
// length, and must stay one readable line.
const maxReason = 400

func (e *Error) Error() string {
	reason := e.Reason
	if len(reason) > maxReason {
		reason = reason[:maxReason/2] + " ... " + reason[len(reason)-maxReason/2:]
	}
	if e.Line == 0 {
		return "policy: " + reason
	}
	return fmt.Sprintf("policy line %d, column %d: %s", e.Line, e.Column, reason)
}

// Kind is what a value must be; its text is for error messages.
type Kind string

// The kinds of values there are.
const (
	Text   Kind = "a string in plain double quotes"
	Number Kind = "a plain whole number"
	List   Kind = "a list of strings in plain double quotes"
)

// Field is a key that a table must have.
type Field struct {
	Name    string
	Kind    Kind
	Example string // a value as one writes it, for error messages
}

// Table is a table there can be. The one with the empty name holds the keys
// above all headers and comes first in a schema.
type Table struct {
	Name     string
	Many     bool // [[name]], any number of them
	Optional bool // may be missing altogether
	Fields   []Field
}

// Document knows where the values of a decoded text stood.
type Document struct {
	schema []Table
	where  map[string]unstable.Position // by path: "class[0].names[1]"
}

// Errorf makes an error about the value, key or table at a path like
// "class[0].names[1]", "class[0].names" or "class[0]".
func (d *Document) Errorf(path, format string, a ...any) *Error {
	at := d.where[path]
	return &Error{Line: at.Line, Column: at.Column, Reason: fmt.Sprintf(format, a...)}
}

// Read decodes at most most bytes of text into a struct with toml tags. The
// error is an *Error.
func Read(text []byte, most int, schema []Table, into any) (*Document, error) {
	if err := checkBytes(text, most); err != nil {
		return nil, err
	}
	d := &Document{schema: schema, where: map[string]unstable.Position{}}
	w := &walker{doc: d, table: &schema[0], counts: map[string]int{}, seen: map[string]map[string]bool{"": {}}}
	w.p.Reset(text)
	for w.p.NextExpression() {
		if err := w.expression(w.p.Expression()); err != nil {
			return nil, err
		}
	}
	// The decoder sees what the walk cannot: syntax and repeated keys.
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into); err != nil {
		return nil, decodeError(err)
	}
	if err := w.p.Error(); err != nil {
		return nil, &Error{Reason: err.Error()}
	}
	if err := w.missing(); err != nil {
		return nil, err
	}
	return d, nil
}

// checkBytes refuses what notes, displays or other TOML readers could take
// for something else.
func checkBytes(b []byte, most int) error {
	if len(b) > most {
		return &Error{Reason: fmt.Sprintf("%d bytes, at most %d", len(b), most)}
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
	doc    *Document
	table  *Table                     // the present one
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
	t := w.doc.table(name)
	switch {
	case t == nil:
		return &Error{at.Line, at.Column, fmt.Sprintf("there is no table %q%s", name, OrOneOf(name, w.doc.tables()))}
	case array && !t.Many:
		return &Error{at.Line, at.Column, fmt.Sprintf("write [%s], there is only one", name)}
	case !array && t.Many:
		return &Error{at.Line, at.Column, fmt.Sprintf("write [[%s]] with two brackets, there can be several", name)}
	}
	w.table, w.path = t, name
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
	f, names := w.table.field(name)
	if f == nil {
		return &Error{at.Line, at.Column, fmt.Sprintf("there is no key %q here%s", name, OrOneOf(name, names))}
	}
	path := strings.TrimPrefix(w.path+"."+name, ".")
	w.doc.where[path] = at
	w.seen[w.path][name] = true
	if !w.fits(n.Value(), f.Kind, path) {
		return &Error{at.Line, at.Column, fmt.Sprintf("%s must be %s: write %s = %s", name, f.Kind, name, f.Example)}
	}
	return nil
}

// fits reports whether a value is of kind k and plainly written; it notes
// where the value, or each element of a list, stands.
func (w *walker) fits(v *unstable.Node, k Kind, path string) bool {
	switch k {
	case Number:
		u, err := strconv.ParseUint(string(v.Data), 10, 53)
		return v.Kind == unstable.Integer && err == nil && strconv.FormatUint(u, 10) == string(v.Data)
	case Text:
		w.doc.where[path] = w.p.Shape(v.Raw).Start
		return v.Kind == unstable.String && string(w.p.Raw(v.Raw)) == `"`+string(v.Data)+`"`
	}
	it, i := v.Children(), 0
	for v.Kind == unstable.Array && it.Next() {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		if !w.fits(it.Node(), Text, fmt.Sprintf("%s[%d]", path, i)) {
			return false
		}
		i++
	}
	return v.Kind == unstable.Array
}

// missing reports the first required key or table that is not there.
func (w *walker) missing() error {
	for _, path := range append([]string{""}, w.order...) {
		name, _, _ := strings.Cut(path, "[")
		for _, f := range w.doc.table(name).Fields {
			if !w.seen[path][f.Name] {
				return w.doc.Errorf(path, "%s is missing: add %s = %s", f.Name, f.Name, f.Example)
			}
		}
	}
	for _, t := range w.doc.schema[1:] {
		if !t.Optional && w.counts[t.Name] == 0 {
			return &Error{Reason: fmt.Sprintf("the table %s is missing: see docs/spec/policy.md for an example", t.Name)}
		}
	}
	return nil
}

// table is the table of this name, nil if there is none.
func (d *Document) table(name string) *Table {
	for i := range d.schema {
		if d.schema[i].Name == name {
			return &d.schema[i]
		}
	}
	return nil
}

func (d *Document) tables() []string {
	var names []string
	for _, t := range d.schema[1:] {
		names = append(names, t.Name)
	}
	return names
}

// field is the field of this name, nil if there is none, and the names of all.
func (t *Table) field(name string) (*Field, []string) {
	var found *Field
	var names []string
	for i := range t.Fields {
		if names = append(names, t.Fields[i].Name); t.Fields[i].Name == name {
			found = &t.Fields[i]
		}
	}
	return found, names
}
