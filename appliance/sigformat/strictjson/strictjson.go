// Package strictjson reads JSON that every reader understands alike, and writes
// the canonical form that in-toto signs.
//
// Accepted is RFC 8259 within I-JSON (RFC 7493): valid UTF-8, no member name
// twice in an object, no lone surrogates, whole numbers below 2^53; and narrower:
// no NUL, nothing before or behind the value, so deep and no deeper (limits.go).
// What one reader would take the first of, another the last of, is an error.
//
// Canonical is the form that securesystemslib calls canonical JSON (OLPC's):
// no spaces, members sorted by name, whole numbers only, and in strings nothing
// but quote and backslash is escaped, so that control characters stand as they
// are. ParseCanonical accepts exactly what Canonical writes.
//
// The package is pure; its input may come from anyone.
package strictjson

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Value is one of string, bool, nil, Number, Array and *Object.
type Value any

// Number is a number as it was written.
type Number string

// Int is a whole number, false if n is none: with a fraction, with an exponent,
// or as long as 2^53.
func (n Number) Int() (int64, bool) {
	i, err := strconv.ParseInt(string(n), 10, 64)
	return i, err == nil && -MaxInt <= i && i <= MaxInt
}

// Array is a list of values.
type Array []Value

// Object has its members in the order in which they were written.
type Object struct {
	Members []Member
	index   map[string]int
}

// Member is a named value of an object.
type Member struct {
	Name  string
	Value Value
}

// Get is the value of a member, false if there is none of that name.
func (o *Object) Get(name string) (Value, bool) {
	i, ok := o.index[name]
	if !ok {
		return nil, false
	}
	return o.Members[i].Value, true
}

// Set adds a member or replaces the one of this name.
func (o *Object) Set(name string, v Value) {
	if i, ok := o.index[name]; ok {
		o.Members[i].Value = v
		return
	}
	if o.index == nil {
		o.index = map[string]int{}
	}
	o.index[name] = len(o.Members)
	o.Members = append(o.Members, Member{name, v})
}

// Error says where bytes are no JSON of this package's kind.
type Error struct {
	Offset int // in bytes
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// ParseCanonical reads what Canonical writes, and nothing else. The error is an
// *Error.
func ParseCanonical(b []byte) (Value, error) {
	v, err := parse(b, true)
	if err != nil {
		return nil, err
	}
	again, err := Canonical(v)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		at := 0
		for at < min(len(again), len(b)) && again[at] == b[at] {
			at++
		}
		return nil, &Error{at, "not in canonical form"}
	}
	return v, nil
}

// Canonical encodes a value. A number that is not whole has no such form; the
// error is an *Error.
func Canonical(v Value) ([]byte, error) { return appendCanonical(nil, v) }

func appendCanonical(b []byte, v Value) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case Number:
		n, ok := v.Int()
		if !ok {
			return nil, &Error{len(b), fmt.Sprintf("canonical JSON has no number %s", shortened(string(v)))}
		}
		return strconv.AppendInt(b, n, 10), nil
	case Array:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case *Object:
		return appendObject(b, v)
	}
	panic(fmt.Sprintf("strictjson: %T is no value", v))
}

// appendObject sorts by the bytes of the names, which in UTF-8 is the order of
// their code points.
func appendObject(b []byte, o *Object) (_ []byte, err error) {
	sorted := slices.SortedFunc(slices.Values(o.Members), func(x, y Member) int { return cmp.Compare(x.Name, y.Name) })
	b = append(b, '{')
	for i, m := range sorted {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.Name), ':')
		if b, err = appendCanonical(b, m.Value); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

var canonicalEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func appendString(b []byte, s string) []byte {
	return append(append(append(b, '"'), canonicalEscapes.Replace(s)...), '"')
}
