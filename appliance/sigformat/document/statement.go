package document

import "strings"

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
func statement(n node, p *page) (Kind, bool) {
	version := typeOf(n.v)
	if version != statementV1 && version != statementV01 {
		return "", false
	}
	n.only("_type", "predicateType", "subject", "?predicate")
	kind := n.get("predicateType").text()
	n.get("predicateType").check(kind != "", "empty")
	p.say(0, "in-toto statement %s", version[strings.LastIndex(version, "/")+1:])
	p.say(0, "predicate: %s", show(kind))
	subjects := n.get("subject").list()
	n.get("subject").check(len(subjects) > 0, "a statement about nothing")
	p.say(0, "%s", count(len(subjects), "subject"))
	for i, s := range subjects {
		if version == statementV01 {
			s.only("name", "digest")
		} else {
			s.only("digest", "?name", "?uri", "?content", "?downloadLocation", "?mediaType", "?annotations")
		}
		digests(p, i, s.get("digest").hashes(), s.subject())
	}
	more(p, len(subjects)-maxArtifacts, "subject")
	if n.has("predicate") {
		p.say(0, "of the predicate")
		n.get("predicate").say(p)
	}
	return Statement, true
}

// subject is what a subject is called.
func (n node) subject() string {
	var names []string
	for _, what := range []string{"name", "uri", "downloadLocation", "mediaType"} {
		if n.has(what) {
			names = append(names, show(n.get(what).text()))
		}
	}
	if len(names) == 0 {
		return "(without a name)"
	}
	return strings.Join(names, " ")
}

// other shows an object of a payload type that nothing here knows.
func other(n node, p *page, kind string) Kind {
	p.say(0, "JSON of type %s, not known here", kind)
	n.say(p)
	return Other
}

// say shows the top of an object.
func (n node) say(p *page) {
	names, all := n.members()
	for i, m := range all[:min(len(all), maxMembers)] {
		p.say(1, "%s: %s", clip(names[i], maxFree), scalar(m.v))
	}
	more(p, len(all)-maxMembers, "member")
}
