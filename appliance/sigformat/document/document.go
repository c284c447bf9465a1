// Package document reads the documents that are signed with their meaning shown:
// in-toto layouts and links, DSSE payloads, Release files of apt repositories.
//
// A document is the exact bytes that a format of signatures is over
// (docs/spec/signature.md §6). Parse accepts one only if every reader takes it for
// the same thing, and gives lines that say what it means: what matters of it in
// full or counted, in printable ASCII, nothing that could move a cursor or pass
// for another line. Key ids in a layout are computed from the keys, not believed.
//
// The package is pure. Documents come from hosts and may be hostile.
package document

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/document/release"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// Kind is what a document is.
type Kind string

// The kinds.
const (
	Layout    Kind = "in-toto layout"
	Link      Kind = "in-toto link"
	Statement Kind = "in-toto statement"
	Other     Kind = "JSON" // of a payload type that nothing here knows
	Release   Kind = "Release file"
)

// Document is a document that was understood.
type Document struct {
	Kind    Kind
	Meaning []string  // 1 to form.MaxLines - 1 lines of 1 to form.MaxColumns printable ASCII characters
	Expires time.Time // when nobody takes it any more; zero if it says nothing of that
}

// At is the meaning at a time, with a line more about what is left until the
// document expires.
func (d Document) At(now time.Time) []string {
	if d.Expires.IsZero() {
		return d.Meaning
	}
	left := "expires " + span(now, d.Expires) + " from now"
	if !now.Before(d.Expires) {
		left = "EXPIRED " + span(d.Expires, now) + " ago"
	}
	return slices.Insert(slices.Clone(d.Meaning), 1, left)
}

// span is what lies between two times, without what a person does not need of it.
// A time.Duration ends after 292 years.
func span(from, to time.Time) string {
	const hour, day = 3600, 24 * 3600
	t := to.Unix() - from.Unix()
	if t >= 2*day {
		return fmt.Sprintf("%d days", t/day)
	}
	return form.Count(int(t/hour), "hour")
}

// Error refuses bytes as a document.
type Error = form.Error

// Parse reads the document that a format of this name is over. The error is an
// *[Error].
func Parse(format string, doc []byte) (Document, error) {
	f, known := sigformat.FormatOf(format)
	switch {
	case !known || f.Document() == sigformat.Never:
		return Document{}, form.Refuse(form.Forbidden, "", "format %s is over files, not over documents", form.Clip(format, form.MaxFree))
	case len(doc) > message.MaxDocument:
		return Document{}, form.Refuse(form.TooLarge, "", "%d bytes, a document has at most %d", len(doc), message.MaxDocument)
	case f.Family == sigformat.FamilyInToto:
		v, err := strictjson.ParseCanonical(doc)
		if err != nil {
			return Document{}, encoding(err)
		}
		return whole(v, layout, link)
	case f.Family == sigformat.FamilyDSSE:
		return payload(f, doc)
	}
	p, err := release.Read(f, doc)
	if err != nil {
		return Document{}, err
	}
	return Document{Release, p.Lines, p.Expires}, nil
}

func encoding(err error) error {
	var e *strictjson.Error
	if errors.As(err, &e) {
		return form.Refuse(form.Encoding, fmt.Sprintf("byte %d", e.Offset), "%s", e.Reason)
	}
	return form.Refuse(form.Encoding, "", "%s", err.Error())
}

// payload reads what stands in a DSSE envelope.
func payload(f sigformat.Format, doc []byte) (Document, error) {
	b, err := f.PayloadOf(doc)
	if err != nil {
		return Document{}, encoding(err)
	}
	v, err := strictjson.Parse(b)
	if err != nil {
		return Document{}, encoding(err)
	}
	if f.PayloadType() == inTotoPayload {
		return whole(v, layout, link, statement)
	}
	return whole(v, func(n form.Node, p *form.Page) (Kind, bool) { return other(n, p, f.PayloadType()), true })
}

// whole has the readers look at a value, one of which must know it.
func whole(v strictjson.Value, readers ...func(form.Node, *form.Page) (Kind, bool)) (Document, error) {
	var mistake *Error
	n, p := form.Whole(v, &mistake), new(form.Page)
	for _, read := range readers {
		kind, mine := read(n, p)
		if !mine {
			continue
		}
		if mistake == nil && p.Long() {
			mistake = form.TooMuch(p)
		}
		if mistake != nil {
			return Document{}, mistake
		}
		return Document{kind, p.Lines, p.Expires}, nil
	}
	return Document{}, form.Refuse(form.Content, "_type", "%s is no type of metadata that this format has", form.Clip(n.Type(), form.MaxFree))
}
