package document

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/sigformat/strictjson"
)

// node is a value with its place. The first mistake anywhere in a document is
// kept; after it, values are empty.
type node struct {
	at  string
	v   strictjson.Value
	err **Error
}

func (n node) fail(format string, a ...any) {
	if *n.err == nil {
		at := n.at
		if len(at) > maxFree {
			at = "..." + at[len(at)-maxFree:]
		}
		*n.err = &Error{Content, at, fmt.Sprintf(format, a...)}
	}
}

// check fails unless ok.
func (n node) check(ok bool, format string, a ...any) {
	if !ok {
		n.fail(format, a...)
	}
}

// object is the value as an object, an empty one if it is none.
func (n node) object() *strictjson.Object {
	o, ok := n.v.(*strictjson.Object)
	if !ok {
		n.fail("not an object")
		return new(strictjson.Object)
	}
	return o
}

// only wants an object with these members, those behind "?" perhaps, and no
// others: a member that one reader knows and another does not has two meanings.
func (n node) only(names ...string) {
	o := n.object()
	known := 0
	for _, name := range names {
		name, optional := strings.CutPrefix(name, "?")
		_, there := o.Get(name)
		n.check(there || optional, "%q is missing", name)
		if there {
			known++
		}
	}
	for _, m := range o.Members {
		if known < len(o.Members) && !slices.Contains(names, m.Name) && !slices.Contains(names, "?"+m.Name) {
			n.fail("%s is unknown here", clip(m.Name, maxFree))
		}
	}
}

// get is a member, null if there is none.
func (n node) get(name string) node {
	v, _ := n.object().Get(name)
	return node{n.child(name), v, n.err}
}

func (n node) has(name string) bool {
	_, there := n.object().Get(name)
	return there
}

// child is the place of a member.
func (n node) child(name string) string {
	if name = clip(name, maxFree); n.at == "" {
		return name
	}
	return n.at + "." + name
}

// members are those of an object, in their order.
func (n node) members() (names []string, all []node) {
	for _, m := range n.object().Members {
		names, all = append(names, m.Name), append(all, node{n.child(m.Name), m.Value, n.err})
	}
	return names, all
}

func (n node) list() []node {
	a, ok := n.v.(strictjson.Array)
	n.check(ok, "not a list")
	all := make([]node, len(a))
	for i, v := range a {
		all[i] = node{fmt.Sprintf("%s[%d]", n.at, i), v, n.err}
	}
	return all
}

func (n node) text() string {
	s, ok := n.v.(string)
	n.check(ok, "not a string")
	return s
}

func (n node) texts() []string {
	var all []string
	for _, e := range n.list() {
		all = append(all, e.text())
	}
	return all
}

func (n node) int() int64 {
	number, _ := n.v.(strictjson.Number)
	i, ok := number.Int()
	n.check(ok, "not a whole number")
	return i
}

// typeOf is the "_type" of metadata, "" if it has none.
func typeOf(v strictjson.Value) string {
	o, ok := v.(*strictjson.Object)
	if !ok {
		return ""
	}
	t, _ := o.Get("_type")
	s, _ := t.(string)
	return s
}
