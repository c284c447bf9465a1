package document

import (
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/document/keys"
)

// layout reads an in-toto layout (in-toto specification 1.0, §4.3). Everything that
// decides what it lets through is shown: expiry, keys, steps and inspections with
// their rules and commands.
func layout(n form.Node, p *form.Page) (Kind, bool) {
	if n.Type() != "layout" {
		return "", false
	}
	n.Only("_type", "expires", "inspect", "keys", "readme", "steps", "?rootcas", "?intermediatecas")
	empty(n, "rootcas")
	empty(n, "intermediatecas")
	p.Expires = expiry(n.Get("expires"))
	p.Say(0, "in-toto layout, expires %s", p.Expires.Format(keys.TimeForm))
	known := keys.Read(n.Get("keys"))
	steps, inspections := n.Get("steps").List(), n.Get("inspect").List()
	p.Say(0, "%s, %s, %s", form.Count(len(steps), "step"), form.Count(len(inspections), "inspection"), form.Count(len(known), "key"))
	names := map[string]bool{}
	for i, s := range steps {
		if n.Failed() {
			break
		}
		p.Say(0, "step %d of %d: %s", i+1, len(steps), item(s, names, "step", "expected_command", "pubkeys", "threshold", "?cert_constraints"))
		step(s, p, known)
	}
	for i, s := range inspections {
		p.Say(0, "inspection %d of %d: %s", i+1, len(inspections), item(s, names, "inspection", "run"))
		p.Say(1, "runs at every client: %s", form.Words(s.Get("run").Texts()))
		rules(s, p)
	}
	for _, k := range known {
		k.Say(p, 0, "key")
	}
	if readme := n.Get("readme").Text(); readme != "" {
		p.Say(0, "readme: %s", form.Clip(readme, form.MaxFree))
	}
	return Layout, true
}

// empty wants a list, if it is there, to have nothing in it: in-toto's Go library
// writes lists of X.509 authorities and what their certificates must say, which let
// keys through that no layout names, and which no other reader has.
func empty(n form.Node, name string) {
	if n.Has(name) {
		n.Get(name).Check(len(n.Get(name).List()) == 0, "keys by certificate are not shown here, so they are not signed: name the keys")
	}
}

// expiry is such a time.
func expiry(n form.Node) time.Time {
	s := n.Text()
	t, err := time.Parse(keys.TimeForm, s)
	n.Check(err == nil && t.Format(keys.TimeForm) == s, "not a time like 2028-02-29T12:00:00Z")
	return t
}

// item reads what steps and inspections share, beside their own members, and gives
// the name, which no other of them has.
func item(n form.Node, names map[string]bool, kind string, own ...string) string {
	n.Only(append([]string{"_type", "name", "expected_materials", "expected_products"}, own...)...)
	n.Get("_type").Check(n.Type() == kind, "not %q", kind)
	name := n.Get("name").Text()
	n.Get("name").Check(name != "" && !names[name], "empty, or the name of another step or inspection")
	names[name] = true
	return form.Show(name)
}

// step reads who may perform a step.
func step(n form.Node, p *form.Page, known []keys.Key) {
	empty(n, "cert_constraints")
	pubkeys, need := n.Get("pubkeys").List(), n.Get("threshold").Int()
	people, seen := map[string]bool{}, map[string]bool{}
	p.Say(1, "needs %d of %s", need, form.Count(len(pubkeys), "key"))
	for _, at := range pubkeys {
		id := at.Text()
		at.Check(!seen[id], "twice")
		seen[id] = true
		which := slices.IndexFunc(known, func(k keys.Key) bool { return k.Find(id) != nil })
		if which < 0 {
			at.Fail("not one of the layout's keys")
			return
		}
		p.Say(2, "%s", id)
		if people[known[which].ID] = true; known[which].ID != id {
			p.Say(3, "a subkey of %s", known[which].ID)
		}
		if known[which].Find(id).Claimed {
			p.Say(3, "claimed: it cannot be computed from the key")
		}
	}
	n.Get("threshold").Check(1 <= need && need <= int64(len(people)), "from 1 to the number of different pubkeys, which is %d", len(people))
	if command := n.Get("expected_command").Texts(); len(command) > 0 {
		p.Say(1, "command: %s", form.Words(command))
	} else {
		p.Say(1, "command: any")
	}
	rules(n, p)
}

// rules reads those about artifacts.
func rules(n form.Node, p *form.Page) {
	for _, what := range []string{"material", "product"} {
		rules := n.Get("expected_" + what + "s").List()
		for _, r := range rules {
			p.Say(1, "%s rule: %s", what, rule(r))
		}
		if len(rules) == 0 {
			p.Say(1, "%s rules: none, anything goes", what)
		}
	}
}

// rule is one of in-toto's artifact rules (§4.3.3): a word and a pattern, or the
// longer one that compares with another step.
func rule(n form.Node) string {
	r := n.Texts()
	if len(r) == 0 {
		n.Fail("an empty rule")
		return ""
	}
	word := strings.ToUpper(r[0])
	if word == "MATCH" {
		n.Check(matchRule(r[1:]), "not of the form MATCH pattern [IN path] WITH MATERIALS|PRODUCTS [IN path] FROM step")
	} else {
		n.Check(len(r) == 2 && slices.Contains([]string{"CREATE", "MODIFY", "DELETE", "ALLOW", "DISALLOW", "REQUIRE"}, word), "no rule that in-toto has")
	}
	return form.Words(append([]string{word}, r[1:]...))
}

// matchRule reports whether these are the words behind MATCH.
func matchRule(r []string) bool {
	is := func(i int, words ...string) bool { return i < len(r) && slices.Contains(words, strings.ToUpper(r[i])) }
	at := 1
	if is(at, "IN") {
		at += 2
	}
	if !is(at, "WITH") || !is(at+1, "MATERIALS", "PRODUCTS") {
		return false
	}
	if at += 2; is(at, "IN") {
		at += 2
	}
	return is(at, "FROM") && len(r) == at+2
}
