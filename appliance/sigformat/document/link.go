package document

import (
	"encoding/hex"
	"strconv"

	"touchmark/appliance/sigformat/strictjson"
)

// link reads in-toto's link metadata (in-toto specification 1.0, §4.4). What was
// made is listed with its digests; what it was made of, counted.
func link(n node, p *page) (Kind, bool) {
	if typeOf(n.v) != "link" {
		return "", false
	}
	n.only("_type", "byproducts", "command", "environment", "materials", "name", "products")
	name := n.get("name").text()
	n.get("name").check(name != "", "empty")
	p.say(0, "in-toto link of step %s", show(name))
	names, products := n.get("products").members()
	p.say(0, "%s", count(len(products), "product"))
	for i, a := range products {
		digests(p, i, a.hashes(), show(names[i]))
	}
	more(p, len(products)-maxArtifacts, "product")
	names, materials := n.get("materials").members()
	for _, a := range materials {
		a.hashes()
	}
	p.say(0, "%s", count(len(names), "material"))
	if command := n.get("command").texts(); len(command) > 0 {
		p.say(0, "command: %s", shorten(words(command)))
	}
	if v, there := n.get("byproducts").object().Get("return-value"); there {
		p.say(0, "return value: %s", scalar(v))
	}
	p.say(0, "%s, environment of %s", count(len(n.get("byproducts").object().Members), "byproduct"), count(len(n.get("environment").object().Members), "member"))
	return Link, true
}

// digests lists an artifact, if it is one of the first.
func digests(p *page, i int, hashes []string, name string) {
	if i >= maxArtifacts {
		return
	}
	p.say(1, "%s", name)
	for _, h := range hashes {
		p.say(2, "%s", h)
	}
}

// more counts what is not listed.
func more(p *page, n int, one string) {
	if n > 0 {
		p.say(1, "and %s more", count(n, one))
	}
}

// strong are the hashes by which artifacts are told apart; the first that there is
// is shown.
var strong = map[string]int{"sha256": 64, "sha512": 128, "sha384": 96}

// hashes reads the digests of an artifact and gives them in lines: one of a hash
// that nobody breaks, or else all.
func (n node) hashes() (lines []string) {
	names, all := n.members()
	n.check(len(all) > 0, "no digest")
	for i, h := range all {
		v := h.text()
		b, err := hex.DecodeString(v)
		h.check(err == nil && hex.EncodeToString(b) == v && v != "", "not lowercase hexadecimal digits")
		size, known := strong[names[i]]
		h.check(!known || len(v) == size, "not as long as a %s digest", clip(names[i], maxFree))
	}
	for _, alg := range []string{"sha256", "sha512", "sha384"} {
		if n.has(alg) {
			return []string{named(alg, n.get(alg).text())}
		}
	}
	for i, h := range all {
		lines = append(lines, "weak: "+clip(names[i], maxFree)+" "+clip(h.text(), maxFree))
	}
	return lines
}

// named leaves the usual hash out: the line is then one.
func named(alg, digest string) string {
	if alg == "sha256" {
		return digest
	}
	return alg + " " + digest
}

// scalar is a value in a few words.
func scalar(v strictjson.Value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case string:
		if clip(v, maxFree) == v {
			return strconv.Quote(v) // null and "null" are not the same
		}
		return clip(v, maxFree)
	case strictjson.Number:
		return string(v)
	case strictjson.Array:
		return count(len(v), "element")
	case *strictjson.Object:
		return count(len(v.Members), "member")
	}
	return ""
}
