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
	"cmp"
	"errors"
	"fmt"
	"slices"
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

// MaxErrors bounds how many mistakes are told at once.
const MaxErrors = 32

// Errors are the mistakes of a policy in the order of their places, at least
// one. As a text it is the first and the number of the others.
type Errors []*Error

func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more)", e[0], len(e)-1)
}

// Unwrap makes errors.As find the first.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

// Sorted is e in the order of places, those of the policy as a whole last; nil
// without any.
func (e Errors) Sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e[:min(len(e), MaxErrors)]
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
	Name     string
	Kind     Kind
	Example  string // a value as one writes it, for error messages
	Optional bool   // may be missing
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
// error is an Errors: all unknown and missing keys and values of a wrong kind,
// or else the first place that is no TOML.
func Read(text []byte, most int, schema []Table, into any) (*Document, error) {
	if e := checkBytes(text, most); e != nil {
		return nil, Errors{e}
	}
	d := &Document{schema: schema, where: map[string]unstable.Position{}}
	w := &walker{doc: d, table: &schema[0], counts: map[string]int{}, seen: map[string]map[string]bool{"": {}}}
	w.p.Reset(text)
	for w.p.NextExpression() {
		w.expression(w.p.Expression())
	}
	if w.p.Error() == nil {
		w.missing()
	}
	if len(w.errs) == 0 || w.p.Error() != nil {
		// The decoder sees what the walk cannot: syntax and repeated keys.
		if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into); err != nil {
			w.errs = append(w.errs, decodeError(err))
		} else if err := w.p.Error(); err != nil {
			w.errs = append(w.errs, &Error{Reason: err.Error()})
		}
	}
	if err := w.errs.Sorted(); err != nil {
		return nil, err
	}
	return d, nil
}

// checkBytes refuses what notes, displays or other TOML readers could take
// for something else.
func checkBytes(b []byte, most int) *Error {
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
	if len(b) == 0 {
		return &Error{Reason: "the file is empty"}
	}
	if b[len(b)-1] != '\n' {
		return &Error{line, column + 1, "the last line needs a newline at its end"}
	}
	return nil
}

func decodeError(err error) *Error {
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
	errs   Errors
}

func (w *walker) fail(at unstable.Position, format string, a ...any) {
	w.errs = append(w.errs, &Error{at.Line, at.Column, fmt.Sprintf(format, a...)})
}

func (w *walker) expression(n *unstable.Node) {
	if n.Kind == unstable.Comment {
		return
	}
	name, at, ok := w.key(n)
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		w.table = nil // what stands below a wrong header is not judged
		if ok {
			w.header(n, name, at)
		} else {
			w.meant(name)
		}
	case unstable.KeyValue:
		switch {
		case w.table == nil:
		case ok:
			w.keyValue(n, name, at)
		default:
			w.seen[w.path][name] = true
		}
	}
}

// key returns the only part of a key, or the first of one with dots; those and
// quoted ones are not ok.
func (w *walker) key(n *unstable.Node) (name string, at unstable.Position, ok bool) {
	it := n.Key()
	it.Next()
	k := it.Node()
	at = w.p.Shape(k.Raw).Start
	switch {
	case !it.IsLast():
		w.fail(at, "write a table header instead of a key with dots")
	case string(w.p.Raw(k.Raw)) != string(k.Data):
		w.fail(at, "write the key without quotes")
	default:
		return string(k.Data), at, true
	}
	return string(k.Data), at, false
}

func (w *walker) header(n *unstable.Node, name string, at unstable.Position) {
	array := n.Kind == unstable.ArrayTable
	t := w.doc.table(name)
	switch {
	case t == nil:
		w.fail(at, "there is no table %q%s", name, OrOneOf(name, w.doc.tables()))
		w.meant(name)
		return
	case array && !t.Many:
		w.fail(at, "write [%s], there is only one", name)
		array = false
	case !array && t.Many:
		w.fail(at, "write [[%s]] with two brackets, there can be several", name)
		array = true
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
}

// meant counts a misspelt table, so that it is not called missing too.
func (w *walker) meant(name string) {
	if near := nearest(name, w.doc.tables()); near != "" {
		w.counts[near]++
	}
}

func (w *walker) keyValue(n *unstable.Node, name string, at unstable.Position) {
	f, names := w.table.field(name)
	if f == nil {
		w.unknown(name, names, at)
		return
	}
	path := strings.TrimPrefix(w.path+"."+name, ".")
	w.doc.where[path] = at
	w.seen[w.path][name] = true
	if !w.fits(n.Value(), f.Kind, path) {
		w.fail(at, "%s must be %s: write %s = %s", name, f.Kind, name, f.Example)
	}
}

// unknown says what is wrong with a key that the present table does not have: it is
// misspelt, or a table itself, or another table's.
func (w *walker) unknown(name string, names []string, at unstable.Position) {
	if t := w.doc.table(name); t != nil {
		w.fail(at, "%s is a table: write %s on a line of its own, and its keys below it", name, t.header())
		w.counts[name]++
		return
	}
	near := nearest(name, names)
	if homes := w.doc.homes(name); near == "" && len(homes) > 0 {
		w.fail(at, "there is no key %q here: it belongs %s", name, strings.Join(homes, " or "))
		return
	}
	w.fail(at, "there is no key %q here%s", name, OrOneOf(name, names))
	if near != "" {
		w.seen[w.path][near] = true // nor is a misspelt key missing
	}
}

// header is how a table begins.
func (t *Table) header() string {
	if t.Many {
		return "[[" + t.Name + "]]"
	}
	return "[" + t.Name + "]"
}

// homes are the places where a key may stand.
func (d *Document) homes(key string) (homes []string) {
	for i := range d.schema {
		t := &d.schema[i]
		f, _ := t.field(key)
		switch {
		case f == nil:
		case t.Name == "":
			homes = append(homes, "above the first table")
		default:
			homes = append(homes, "below "+t.header())
		}
	}
	return homes
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

// missing notes the required keys and tables that are not there.
func (w *walker) missing() {
	for _, path := range append([]string{""}, w.order...) {
		name, _, _ := strings.Cut(path, "[")
		for _, f := range w.doc.table(name).Fields {
			if !f.Optional && !w.seen[path][f.Name] {
				w.fail(w.doc.where[path], "%s is missing: add %s = %s", f.Name, f.Name, f.Example)
			}
		}
	}
	for _, t := range w.doc.schema[1:] {
		if !t.Optional && w.counts[t.Name] == 0 {
			w.fail(unstable.Position{}, "the table %s is missing: see docs/spec/policy.md for an example", t.Name)
		}
	}
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
