package review

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/policy"
)

// Explanation is what a policy means: who can have what signed, how often, by
// whom approved, and who can change that.
type Explanation struct {
	Origin   string   `json:"origin"`
	Serial   uint64   `json:"serial"`
	Hash     string   `json:"hash"`
	Admins   Quorum   `json:"administrators"`
	Recovery *Quorum  `json:"recovery,omitempty"`
	Skew     int64    `json:"max_skew_seconds"`
	Validity int64    `json:"max_validity_seconds"`
	Classes  []Class  `json:"classes"`
	Hosts    []Holder `json:"hosts"`
	Persons  []Holder `json:"persons"`
	Remarks  []string `json:"remarks"`
}

// Quorum is how many of whom must sign; names are those of their keys.
type Quorum struct {
	Need int      `json:"need"`
	Of   []string `json:"of"`
}

// Class is what a kind of artifact is allowed.
type Class struct {
	Name      string   `json:"name"`
	Hosts     []string `json:"hosts"`
	Names     []string `json:"names"`
	Formats   []string `json:"formats"`
	Keys      []Key    `json:"keys"`
	MaxSize   uint64   `json:"max_size"`
	Rates     []string `json:"rates"`
	Batch     int      `json:"batch"`
	Approvals int      `json:"approvals"`
	Of        []string `json:"approvers"` // persons, if any must approve
	Documents bool     `json:"documents"` // the operator is shown what all of it says
}

// Key is a token key.
type Key struct {
	Name      string `json:"name"`
	Slot      string `json:"slot"`
	Algorithm string `json:"algorithm"`
}

// Holder is a host, or a person, and the classes that it may ask, or must
// approve, under.
type Holder struct {
	Name    string   `json:"name"`
	Keys    []string `json:"keys"` // NAME+HASH, as on the display
	Classes []string `json:"classes"`
}

// Explain says what a policy means.
func Explain(p *policy.Policy) *Explanation {
	e := &Explanation{
		Origin: p.Origin, Serial: p.Serial, Hash: fmt.Sprintf("%x", p.Hash), Admins: quorum(&p.Administrators),
		Skew: int64(p.MaxSkew / time.Second), Validity: int64(p.MaxValidity / time.Second), Remarks: Remarks(p),
	}
	if len(p.Recovery.Keys) > 0 {
		r := quorum(&p.Recovery)
		e.Recovery = &r
	}
	for i := range p.Classes {
		e.Classes = append(e.Classes, class(p, &p.Classes[i]))
	}
	for _, h := range p.Hosts {
		asks := func(c *policy.Class) bool { return slices.Contains(c.Hosts, h.Name) }
		e.Hosts = append(e.Hosts, Holder{h.Name, []string{short(h.Text)}, classes(p, asks)})
	}
	for _, person := range Persons(p) {
		h := Holder{Name: person, Classes: classes(p, func(c *policy.Class) bool { return c.Approvals > 0 })}
		for _, a := range p.Approvers {
			if a.Person == person {
				h.Keys = append(h.Keys, short(a.Text))
			}
		}
		e.Persons = append(e.Persons, h)
	}
	return e
}

func quorum(a *policy.Administrators) Quorum {
	q := Quorum{Need: a.Quorum}
	for _, t := range a.Texts {
		q.Of = append(q.Of, short(t))
	}
	return q
}

// short is a note key without its last part: name and hash.
func short(vkey string) string {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

func class(p *policy.Policy, c *policy.Class) Class {
	out := Class{
		Name: c.Name, Hosts: c.Hosts, Names: c.Names, Formats: c.Formats, MaxSize: c.MaxSize, Batch: c.Batch, Approvals: c.Approvals, Documents: documents(c),
	}
	for _, name := range c.Keys {
		if k, ok := p.Key(name); ok {
			out.Keys = append(out.Keys, Key{k.Name, k.Slot, k.Algorithm})
		}
	}
	for _, r := range c.Rates {
		out.Rates = append(out.Rates, r.Text)
	}
	if c.Approvals > 0 {
		out.Of = Persons(p)
	}
	return out
}

func classes(p *policy.Policy, is func(c *policy.Class) bool) (names []string) {
	for i := range p.Classes {
		if is(&p.Classes[i]) {
			names = append(names, p.Classes[i].Name)
		}
	}
	return names
}

// Persons are the approvers of a policy, sorted, each once.
func Persons(p *policy.Policy) (persons []string) {
	for _, a := range p.Approvers {
		persons = append(persons, a.Person)
	}
	slices.Sort(persons)
	return slices.Compact(persons)
}

// Lines are the explanation for people.
func (e *Explanation) Lines() []string {
	out := []string{
		fmt.Sprintf("Policy %d of %s, hash %s", e.Serial, e.Origin, e.Hash),
		"",
		fmt.Sprintf("It is changed by %s.", e.Admins),
	}
	if e.Recovery != nil {
		out = append(out, fmt.Sprintf("If they lost their keys, %s can replace them, and change nothing else.", e.Recovery))
	} else {
		out = append(out, "If they lost their keys, nobody can change it any more.")
	}
	out = append(out, fmt.Sprintf("A host's clock may differ from the board's by %s; a request is good for %s at most.", period(e.Skew), period(e.Validity)))
	for i := range e.Classes {
		out = append(out, e.Classes[i].lines()...)
	}
	out = append(out, "")
	for _, h := range e.Hosts {
		out = append(out, fmt.Sprintf("Host %s (%s) may ask under %s.", h.Name, strings.Join(h.Keys, ", "), orNone(h.Classes)))
	}
	for _, h := range e.Persons {
		out = append(out, fmt.Sprintf("%s (%s) can approve for %s.", h.Name, strings.Join(h.Keys, ", "), orNone(h.Classes)))
	}
	for i, r := range e.Remarks {
		if i == 0 {
			out = append(out, "")
		}
		out = append(out, "Look again: "+r+".")
	}
	return out
}

func (q Quorum) String() string {
	if len(q.Of) == 1 {
		return q.Of[0] + " alone"
	}
	return fmt.Sprintf("%d of these %d: %s", q.Need, len(q.Of), strings.Join(q.Of, ", "))
}

func (c *Class) lines() []string {
	who := "Nobody else looks at it: whoever holds the host's key and gets one touch has what he wants signed."
	if c.Approvals > 0 {
		who = fmt.Sprintf("%d of %s must approve, each from a copy of their own.", c.Approvals, strings.Join(c.Of, ", "))
	}
	keys := make([]string, len(c.Keys))
	for i, k := range c.Keys {
		keys[i] = fmt.Sprintf("%s (slot %s, %s)", k.Name, k.Slot, k.Algorithm)
	}
	if c.Documents {
		who += " The operator is shown what it says."
	}
	return []string{
		"",
		fmt.Sprintf("%s: %s may have %s signed", c.Name, strings.Join(c.Hosts, " or "), strings.Join(c.Names, " ")),
		fmt.Sprintf("  as %s with %s.", strings.Join(c.Formats, ", "), strings.Join(keys, ", else ")),
		"  " + who,
		fmt.Sprintf("  At most %s; %d at once; none larger than %s.", strings.Join(c.Rates, " and "), c.Batch, policy.SizeText(c.MaxSize)),
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "no class"
	}
	return strings.Join(list, ", ")
}

// period is whole seconds in the largest unit that divides them.
func period(seconds int64) string {
	for _, u := range []struct {
		s    int64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if seconds%u.s == 0 {
			return fmt.Sprintf("%d%s", seconds/u.s, u.name)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}
