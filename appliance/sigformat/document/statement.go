package document

import (
	"strings"

	"touchmark/appliance/sigformat/document/form"
)

// inTotoPayload is the payload type under which in-toto's metadata is signed.
const inTotoPayload = "application/vnd.in-toto+json"

// Types of statements.
const (
	statementV1  = "https://in-toto.io/Statement/v1"
	statementV01 = "https://in-toto.io/Statement/v0.1"
)

// statement reads an in-toto attestation's statement, version 1 or 0.1 (in-toto
// attestation framework, Statement). Subjects are listed, of the predicate its type
// and what stands at its top.
func statement(n form.Node, p *form.Page) (Kind, bool) {
	version := n.Type()
	if version != statementV1 && version != statementV01 {
		return "", false
	}
	n.Only("_type", "predicateType", "subject", "?predicate")
	kind := n.Get("predicateType").Text()
	n.Get("predicateType").Check(kind != "", "empty")
	p.Say(0, "in-toto statement %s", version[strings.LastIndex(version, "/")+1:])
	p.Say(0, "predicate: %s", form.Show(kind))
	who(n, p, kind)
	subjects := n.Get("subject").List()
	n.Get("subject").Check(len(subjects) > 0, "a statement about nothing")
	p.Say(0, "%s", form.Count(len(subjects), "subject"))
	for i, s := range subjects {
		if version == statementV01 {
			s.Only("name", "digest")
		} else {
			s.Only("digest", "?name", "?uri", "?content", "?downloadLocation", "?mediaType", "?annotations")
		}
		name, lines := subject(s)
		artifact(p, i, name, append(hashes(s.Get("digest")), lines...))
	}
	more(p, len(subjects)-maxArtifacts, "subject")
	if n.Has("predicate") {
		p.Say(0, "of the predicate")
		top(n.Get("predicate"), p)
	}
	return Statement, true
}

// deep is a string somewhere in a predicate, by its members from the top.
type deep struct{ what, path string }

// vouching is what a person must see of the predicates of SLSA, whose first line of
// trust is who built or verified: it stands too deep for the list of what is at the top.
var vouching = map[string][]deep{
	"https://slsa.dev/provenance/v1":           {{"builder", "runDetails.builder.id"}, {"build type", "buildDefinition.buildType"}},
	"https://slsa.dev/provenance/v0.2":         {{"builder", "builder.id"}},
	"https://slsa.dev/provenance/v0.1":         {{"builder", "builder.id"}, {"build type", "recipe.type"}},
	"https://slsa.dev/verification_summary/v1": {{"verifier", "verifier.id"}},
}

// who shows that; where it is missing, that it is. It stands where no member of a
// predicate is shown, whatever that is called.
func who(statement form.Node, p *form.Page, kind string) {
	for _, d := range vouching[kind] {
		n, there := statement, true
		for name := range strings.SplitSeq("predicate."+d.path, ".") {
			if there = there && n.Has(name); there {
				n = n.Get(name)
			}
		}
		if there {
			p.Say(0, "%s: %s", d.what, form.Show(n.Text()))
		} else {
			p.Say(0, "%s: not said", d.what)
		}
	}
}

// subject is what a subject is called, and lines of what else it has beside its
// digests: each with its name, for a place is no name.
func subject(n form.Node) (name string, lines []string) {
	name = "(without a name)"
	if n.Has("name") {
		name = form.Show(n.Get("name").Text())
	}
	for _, what := range []string{"uri", "downloadLocation", "mediaType"} {
		if n.Has(what) {
			lines = append(lines, what+": "+form.Show(n.Get(what).Text()))
		}
	}
	if n.Has("content") {
		lines = append(lines, "content: "+form.Clip(n.Get("content").Text(), form.MaxFree))
	}
	if n.Has("annotations") {
		names, _ := n.Get("annotations").Members()
		lines = append(lines, form.Count(len(names), "annotation"))
	}
	return name, lines
}

// other shows an object of a payload type that nothing here knows.
func other(n form.Node, p *form.Page, kind string) Kind {
	p.Say(0, "JSON of type %s, not known here", kind)
	top(n, p)
	return Other
}

// top shows the top of an object.
func top(n form.Node, p *form.Page) {
	names, all := n.Members()
	for i, m := range all[:min(len(all), maxMembers)] {
		p.Say(1, "%s: %s", form.Clip(names[i], form.MaxFree), scalar(m.Value))
	}
	more(p, len(all)-maxMembers, "member")
}
