package review

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// Remarks are what is legal in a policy and probably not meant, each with what
// to do; nil for a policy that has nothing odd.
func Remarks(p *policy.Policy) []string {
	r := &remarks{p: p}
	r.lockOut()
	r.unused()
	for i := range p.Classes {
		r.class(i)
	}
	return r.out
}

type remarks struct {
	p   *policy.Policy
	out []string
}

func (r *remarks) say(when bool, format string, a ...any) {
	if when {
		r.out = append(r.out, fmt.Sprintf(format, a...))
	}
}

// lockOut remarks that one lost key ends a policy's life.
func (r *remarks) lockOut() {
	a := &r.p.Administrators
	r.say(a.Quorum == len(a.Keys) && len(r.p.Recovery.Keys) == 0,
		"all of the administrators (%d) must sign: if one key is lost, this policy can never be changed; add a [recovery] table or another administrator", len(a.Keys))
	rec := &r.p.Recovery
	r.say(len(rec.Keys) > 0 && rec.Quorum == 1 && a.Quorum > 1,
		"one recovery key replaces %d administrators who must agree: ask for more of them", a.Quorum)
}

// unused remarks hosts, persons and token keys that no class needs.
func (r *remarks) unused() {
	used := func(is func(c *policy.Class) bool) bool {
		return slices.ContainsFunc(r.p.Classes, func(c policy.Class) bool { return is(&c) })
	}
	for _, h := range r.p.Hosts {
		r.say(!used(func(c *policy.Class) bool { return slices.Contains(c.Hosts, h.Name) }),
			"host %s may use no class: name it in one, or leave it out", h.Name)
	}
	for _, k := range r.p.Keys {
		r.say(!used(func(c *policy.Class) bool { return slices.Contains(c.Keys, k.Name) }),
			"token key %s signs for no class: name it in one", k.Name)
	}
	r.say(len(r.p.Approvers) > 0 && !used(func(c *policy.Class) bool { return c.Approvals > 0 }),
		"there are approvers, and no class asks for approvals")
}

// class remarks what can never happen in a class.
func (r *remarks) class(i int) {
	c := &r.p.Classes[i]
	r.say(documents(c) && c.MaxSize > message.MaxDocument, "class %s: max_size never decides, what it signs are documents of %s at most: write that", c.Name, policy.SizeText(message.MaxDocument))
	for _, rate := range c.Rates {
		r.say(c.Batch > rate.Count, "class %s: a batch of %d never fits into rate %s: lower batch or raise the rate", c.Name, c.Batch, rate.Text)
		for _, wider := range c.Rates {
			r.say(wider.Window > rate.Window && wider.Count <= rate.Count,
				"class %s: rate %s never decides, %s is stricter: keep that one alone", c.Name, rate.Text, wider.Text)
		}
	}
	if n := len(Persons(r.p)); c.Approvals > 0 {
		r.say(c.Approvals == n, "class %s: every approver there is (%d) must approve: one who is ill stops it", c.Name, n)
	}
	for j := range r.p.Classes {
		o := &r.p.Classes[j]
		r.unseen(c, o)
		if o.Approvals >= c.Approvals || !share(o.Hosts, c.Hosts) || !share(o.Formats, c.Formats) {
			continue
		}
		for _, name := range c.Names {
			r.say(takes(o, name), "class %s: a host that asks under class %s has names like %s signed with %d approvals instead of %d: it chooses the class", c.Name, o.Name, name, o.Approvals, c.Approvals)
		}
	}
}

// unseen remarks that a host gets signed under class o without a document what
// class c demands one for, with the same key.
func (r *remarks) unseen(c, o *policy.Class) {
	if !c.Documents || o.Documents || !share(o.Hosts, c.Hosts) || !share(o.Formats, c.Formats) || !share(o.Keys, c.Keys) {
		return
	}
	for _, name := range c.Names {
		r.say(takes(o, name), "class %s: a host that asks under class %s has names like %s signed, and the operator is shown a digest only: it chooses the class", c.Name, o.Name, name)
	}
}

// documents reports whether all that a class signs comes as documents, whose
// meaning the operator is shown.
func documents(c *policy.Class) bool {
	return !slices.ContainsFunc(c.Formats, func(name string) bool { return !c.Demands(name) })
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// takes reports whether a class takes some name that fits another's pattern: an
// example of one, so it may miss others.
func takes(c *policy.Class, pattern string) bool {
	example := strings.NewReplacer("*", "a", "?", "a").Replace(pattern)
	return slices.ContainsFunc(c.Names, func(own string) bool {
		ok, err := path.Match(own, example)
		return ok && err == nil
	})
}
