package form

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/sigformat/strictjson"
)

// Node is a value with its place. The first mistake anywhere in a document is
// kept; after it, objects and lists are empty, so that a document full of mistakes
// costs no more than one.
type Node struct {
	Value strictjson.Value

	at  string
	err **Error
}

// Whole is the value that a document is. Its first mistake is put into err, which
// points to nil.
func Whole(v strictjson.Value, err **Error) Node { return Node{Value: v, err: err} }

// Fail refuses the document for this value.
func (n Node) Fail(format string, a ...any) {
	if *n.err == nil {
		at := n.at
		if len(at) > MaxFree {
			at = "..." + at[len(at)-MaxFree:]
		}
		*n.err = &Error{Content, at, fmt.Sprintf(format, a...)}
	}
}

// Failed reports whether there was a mistake, anywhere.
func (n Node) Failed() bool { return *n.err != nil }

// Check fails unless ok.
func (n Node) Check(ok bool, format string, a ...any) {
	if !ok {
		n.Fail(format, a...)
	}
}

// Object is the value as an object, an empty one if it is none.
func (n Node) Object() *strictjson.Object {
	if n.Failed() {
		return new(strictjson.Object)
	}
	o, ok := n.Value.(*strictjson.Object)
	if !ok {
		n.Fail("not an object")
		return new(strictjson.Object)
	}
	return o
}

// Only wants an object with these members, those behind "?" perhaps, and no
// others: a member that one reader knows and another does not has two meanings.
func (n Node) Only(names ...string) {
	o := n.Object()
	known := 0
	for _, name := range names {
		name, optional := strings.CutPrefix(name, "?")
		_, there := o.Get(name)
		n.Check(there || optional, "%q is missing", name)
		if there {
			known++
		}
	}
	for _, m := range o.Members {
		if known < len(o.Members) && !slices.Contains(names, m.Name) && !slices.Contains(names, "?"+m.Name) {
			n.Fail("%s is unknown here", Clip(m.Name, MaxFree))
		}
	}
}

// Get is a member, null if there is none.
func (n Node) Get(name string) Node {
	v, _ := n.Object().Get(name)
	return Node{v, n.child(name), n.err}
}

// Has reports whether there is a member.
func (n Node) Has(name string) bool {
	_, there := n.Object().Get(name)
	return there
}

// child is the place of a member.
func (n Node) child(name string) string {
	if name = Clip(name, MaxFree); n.at == "" {
		return name
	}
	return n.at + "." + name
}

// Members are those of an object, in their order.
func (n Node) Members() (names []string, all []Node) {
	for _, m := range n.Object().Members {
		names, all = append(names, m.Name), append(all, Node{m.Value, n.child(m.Name), n.err})
	}
	return names, all
}

// List is the value as a list of values, an empty one if it is none.
func (n Node) List() []Node {
	if n.Failed() {
		return nil
	}
	a, ok := n.Value.(strictjson.Array)
	n.Check(ok, "not a list")
	all := make([]Node, len(a))
	for i, v := range a {
		all[i] = Node{v, fmt.Sprintf("%s[%d]", n.at, i), n.err}
	}
	return all
}

// Text is the value as a string.
func (n Node) Text() string {
	s, ok := n.Value.(string)
	n.Check(ok, "not a string")
	return s
}

// Texts is the value as a list of strings.
func (n Node) Texts() []string {
	var all []string
	for _, e := range n.List() {
		all = append(all, e.Text())
	}
	return all
}

// Int is the value as a whole number.
func (n Node) Int() int64 {
	number, _ := n.Value.(strictjson.Number)
	i, ok := number.Int()
	n.Check(ok, "not a whole number")
	return i
}

// Type is the "_type" of metadata, "" if it has none.
func (n Node) Type() string {
	o, ok := n.Value.(*strictjson.Object)
	if !ok {
		return ""
	}
	t, _ := o.Get("_type")
	s, _ := t.(string)
	return s
}
