package document

import (
	"slices"
	"strings"
	"time"
)

// layout reads an in-toto layout (in-toto specification 1.0, §4.3). Everything that
// decides what it lets through is shown: expiry, keys, steps and inspections with
// their rules and commands.
func layout(n node, p *page) (Kind, bool) {
	if typeOf(n.v) != "layout" {
		return "", false
	}
	n.only("_type", "expires", "inspect", "keys", "readme", "steps", "?rootcas", "?intermediatecas")
	n.empty("rootcas")
	n.empty("intermediatecas")
	p.expires = n.get("expires").expiry()
	p.say(0, "in-toto layout, expires %s", p.expires.Format(expiryForm))
	keys := n.get("keys").layoutKeys()
	steps, inspections := n.get("steps").list(), n.get("inspect").list()
	p.say(0, "%s, %s, %s", count(len(steps), "step"), count(len(inspections), "inspection"), count(len(keys), "key"))
	names := map[string]bool{}
	for i, s := range steps {
		p.say(0, "step %d of %d: %s", i+1, len(steps), s.item(names, "step", "expected_command", "pubkeys", "threshold", "?cert_constraints"))
		s.step(p, keys)
	}
	for i, s := range inspections {
		p.say(0, "inspection %d of %d: %s", i+1, len(inspections), s.item(names, "inspection", "run"))
		p.say(1, "runs at every client: %s", words(s.get("run").texts()))
		s.rules(p)
	}
	for _, k := range keys {
		k.say(p, 0, "key")
	}
	if readme := n.get("readme").text(); readme != "" {
		p.say(0, "readme: %s", clip(readme, maxFree))
	}
	return Layout, true
}

// empty wants a list, if it is there, to have nothing in it: in-toto's Go library
// writes lists of X.509 authorities and what their certificates must say, which let
// keys through that no layout names, and which no other reader has.
func (n node) empty(name string) {
	if n.has(name) {
		n.get(name).check(len(n.get(name).list()) == 0, "keys by certificate are not shown here, so they are not signed: name the keys")
	}
}

// expiryForm is that of in-toto's times.
const expiryForm = "2006-01-02T15:04:05Z"

// expiry is such a time.
func (n node) expiry() time.Time {
	s := n.text()
	t, err := time.Parse(expiryForm, s)
	n.check(err == nil && t.Format(expiryForm) == s, "not a time like 2028-02-29T12:00:00Z")
	return t
}

// item reads what steps and inspections share, beside their own members, and gives
// the name, which no other of them has.
func (n node) item(names map[string]bool, kind string, own ...string) string {
	n.only(append([]string{"_type", "name", "expected_materials", "expected_products"}, own...)...)
	n.get("_type").check(typeOf(n.v) == kind, "not %q", kind)
	name := n.get("name").text()
	n.get("name").check(name != "" && !names[name], "empty, or the name of another step or inspection")
	names[name] = true
	return show(name)
}

// step reads who may perform a step.
func (n node) step(p *page, keys []layoutKey) {
	n.empty("cert_constraints")
	ids, need := n.get("pubkeys").texts(), n.get("threshold").int()
	people := map[string]bool{}
	p.say(1, "needs %d of %s", need, count(len(ids), "key"))
	for i, id := range ids {
		at := n.get("pubkeys").list()[i]
		at.check(!slices.Contains(ids[:i], id), "twice")
		which := slices.IndexFunc(keys, func(k layoutKey) bool { return k.find(id) != nil })
		if which < 0 {
			at.fail("not one of the layout's keys")
			continue
		}
		p.say(2, "%s", id)
		if people[keys[which].id] = true; keys[which].id != id {
			p.say(3, "a subkey of %s", keys[which].id)
		}
		if keys[which].find(id).claimed {
			p.say(3, "claimed: it cannot be computed from the key")
		}
	}
	n.get("threshold").check(1 <= need && need <= int64(len(people)), "from 1 to the number of different pubkeys, which is %d", len(people))
	if command := n.get("expected_command").texts(); len(command) > 0 {
		p.say(1, "command: %s", words(command))
	} else {
		p.say(1, "command: any")
	}
	n.rules(p)
}

// rules reads those about artifacts.
func (n node) rules(p *page) {
	for _, what := range []string{"material", "product"} {
		rules := n.get("expected_" + what + "s").list()
		for _, r := range rules {
			p.say(1, "%s rule: %s", what, r.rule())
		}
		if len(rules) == 0 {
			p.say(1, "%s rules: none, anything goes", what)
		}
	}
}

// rule is one of in-toto's artifact rules (§4.3.3): a word and a pattern, or the
// longer one that compares with another step.
func (n node) rule() string {
	r := n.texts()
	if len(r) == 0 {
		n.fail("an empty rule")
		return ""
	}
	word := strings.ToUpper(r[0])
	if word == "MATCH" {
		n.check(matchRule(r[1:]), "not of the form MATCH pattern [IN path] WITH MATERIALS|PRODUCTS [IN path] FROM step")
	} else {
		n.check(len(r) == 2 && slices.Contains([]string{"CREATE", "MODIFY", "DELETE", "ALLOW", "DISALLOW", "REQUIRE"}, word), "no rule that in-toto has")
	}
	return words(append([]string{word}, r[1:]...))
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
