package document

import (
	"encoding/hex"
	"strconv"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/strictjson"
)

// link reads in-toto's link metadata (in-toto specification 1.0, §4.4). What was
// made is listed with its digests; what it was made of, counted.
func link(n form.Node, p *form.Page) (Kind, bool) {
	if n.Type() != "link" {
		return "", false
	}
	n.Only("_type", "byproducts", "command", "environment", "materials", "name", "products")
	name := n.Get("name").Text()
	n.Get("name").Check(name != "", "empty")
	p.Say(0, "in-toto link of step %s", form.Show(name))
	names, products := n.Get("products").Members()
	p.Say(0, "%s", form.Count(len(products), "product"))
	for i, a := range products {
		artifact(p, i, form.Show(names[i]), hashes(a))
	}
	more(p, len(products)-maxArtifacts, "product")
	names, materials := n.Get("materials").Members()
	for _, a := range materials {
		hashes(a)
	}
	p.Say(0, "%s", form.Count(len(names), "material"))
	if command := n.Get("command").Texts(); len(command) > 0 {
		p.Say(0, "command: %s", form.Shorten(form.Words(command)))
	}
	if v, there := n.Get("byproducts").Object().Get("return-value"); there {
		p.Say(0, "return value: %s", scalar(v))
	}
	p.Say(0, "%s, environment of %s", form.Count(len(n.Get("byproducts").Object().Members), "byproduct"), form.Count(len(n.Get("environment").Object().Members), "member"))
	return Link, true
}

// artifact lists one with what is said of it, if it is one of the first.
func artifact(p *form.Page, i int, name string, lines []string) {
	if i >= maxArtifacts {
		return
	}
	p.Say(1, "%s", name)
	for _, l := range lines {
		p.Say(2, "%s", l)
	}
}

// more counts what is not listed.
func more(p *form.Page, n int, one string) {
	if n > 0 {
		p.Say(1, "and %s more", form.Count(n, one))
	}
}

// strong are the hashes by which artifacts are told apart.
var strong = map[string]int{"sha256": 64, "sha512": 128, "sha384": 96}

// hashes reads the digests of an artifact and gives them in lines: all of them,
// since readers of attestations take an artifact that one of them is of (in-toto
// attestation framework, DigestSet); first those of hashes that nobody breaks.
func hashes(n form.Node) (lines []string) {
	names, all := n.Members()
	n.Check(len(all) > 0, "no digest")
	for i, h := range all {
		v := h.Text()
		b, err := hex.DecodeString(v)
		h.Check(err == nil && hex.EncodeToString(b) == v && v != "", "not lowercase hexadecimal digits")
		size, known := strong[names[i]]
		h.Check(!known || len(v) == size, "not as long as a %s digest", form.Clip(names[i], form.MaxFree))
	}
	for _, alg := range []string{"sha256", "sha512", "sha384"} {
		if n.Has(alg) {
			lines = append(lines, named(alg, n.Get(alg).Text()))
		}
	}
	for i, h := range all {
		if strong[names[i]] == 0 {
			lines = append(lines, "weak: "+form.Clip(names[i], form.MaxFree)+" "+form.Clip(h.Text(), form.MaxFree))
		}
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
		if form.Clip(v, form.MaxFree) == v {
			return strconv.Quote(v) // null and "null" are not the same
		}
		return form.Clip(v, form.MaxFree)
	case strictjson.Number:
		return string(v)
	case strictjson.Array:
		return form.Count(len(v), "element")
	case *strictjson.Object:
		return form.Count(len(v.Members), "member")
	}
	return ""
}
