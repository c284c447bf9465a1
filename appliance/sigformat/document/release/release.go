// Package release reads the Release files of apt repositories.
package release

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document/form"
)

// Read reads the Release file of an apt repository (Debian's repository format,
// "Release" files): one paragraph of fields, without comments or blank lines.
// Every field is shown, lists of files as counts.
func Read(f sigformat.Format, doc []byte) (*form.Page, error) {
	r := &releaseFile{seen: map[string]bool{}}
	lines, err := linesOf(f, doc)
	for i := 0; i < len(lines) && err == nil; i++ {
		r.line = i + 1
		err = r.read(lines[i])
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		return nil, err
	}
	return r.page()
}

// linesOf undoes what the format did to the lines' ends.
func linesOf(f sigformat.Format, doc []byte) ([]string, error) {
	bad := func(reason string) ([]string, error) { return nil, form.Refuse(form.Encoding, "", "%s", reason) }
	end := "\n"
	if f.Text() {
		end = "\r\n"
	}
	text, ended := strings.CutSuffix(string(doc), end)
	switch {
	case !utf8.Valid(doc):
		return bad("not UTF-8")
	case f.Cleartext() && ended:
		return bad("a line end behind the last line: the format leaves it out")
	case !f.Cleartext() && !ended:
		return bad("the last line has no end")
	case strings.ContainsAny(strings.ReplaceAll(text, end, ""), "\r\n"):
		return bad("line ends that are not the format's")
	}
	lines := strings.Split(text, end)
	for i, l := range lines {
		if strings.ContainsFunc(l, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil, form.Refuse(form.Encoding, fmt.Sprintf("line %d", i+1), "a control character")
		}
		if f.Cleartext() && l != strings.TrimRight(l, " \t") {
			return nil, form.Refuse(form.Encoding, fmt.Sprintf("line %d", i+1), "blanks at its end: the format leaves them out")
		}
	}
	return lines, nil
}

// releaseFile is one that is being read.
type releaseFile struct {
	line   int
	fields []*field
	seen   map[string]bool // names in lower case
	lists  []*fileList
}

// field is one that is no list of files.
type field struct {
	name  string
	value string // of several lines: with LF between them
}

// fileList has the sizes of files by their names, under one hash.
type fileList struct {
	name  string
	sizes map[string]uint64
}

// fileHashes are the lists that a Release file may have, and how many digits a
// digest in them has.
var fileHashes = map[string]int{"SHA512": 128, "SHA256": 64, "SHA1": 40, "MD5Sum": 32}

func (r *releaseFile) fail(format string, a ...any) error {
	return form.Refuse(form.Content, fmt.Sprintf("line %d", r.line), format, a...)
}

func (r *releaseFile) read(line string) error {
	if line != "" && (line[0] == ' ' || line[0] == '\t') {
		return r.more(line)
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || name[0] == '-' || name[0] == '#' || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return r.fail("not \"Field: value\": a Release file is one paragraph without comments")
	}
	if r.seen[strings.ToLower(name)] {
		return r.fail("field %s is there twice", form.Clip(name, form.MaxFree))
	}
	r.seen[strings.ToLower(name)] = true
	value = strings.Trim(value, " \t")
	for hash := range fileHashes {
		if !strings.EqualFold(hash, name) {
			continue
		}
		if value != "" {
			return r.fail("something behind %s:", hash)
		}
		r.lists, r.fields = append(r.lists, &fileList{hash, map[string]uint64{}}), append(r.fields, nil)
		return nil
	}
	r.fields = append(r.fields, &field{name, value})
	return nil
}

// more reads a line that goes on with a field.
func (r *releaseFile) more(line string) error {
	if len(r.fields) == 0 {
		return r.fail("nothing that it goes on with")
	}
	line = strings.Trim(line, " \t")
	if f := r.fields[len(r.fields)-1]; f != nil {
		if line == "" {
			return r.fail("a blank line")
		}
		f.value += "\n" + line
		return nil
	}
	return r.file(r.lists[len(r.lists)-1], strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' }))
}

// file reads one of a list: digest, size and name.
func (r *releaseFile) file(list *fileList, parts []string) error {
	if len(parts) != 3 {
		return r.fail("not digest, size and name of a file")
	}
	digest, err := hex.DecodeString(parts[0])
	size, sizeErr := strconv.ParseUint(parts[1], 10, 63)
	switch _, twice := list.sizes[parts[2]]; {
	case err != nil || len(parts[0]) != fileHashes[list.name] || hex.EncodeToString(digest) != parts[0]:
		return r.fail("no %s digest", list.name)
	case sizeErr != nil || strconv.FormatUint(size, 10) != parts[1]:
		return r.fail("no size")
	case twice:
		return r.fail("%s is there twice", form.Clip(parts[2], form.MaxFree))
	}
	list.sizes[parts[2]] = size
	return nil
}

// finish checks what can be checked only at the end.
func (r *releaseFile) finish() error {
	bad := func(where, format string, a ...any) error {
		return form.Refuse(form.Content, where, format, a...)
	}
	if r.get("suite") == nil && r.get("codename") == nil {
		return bad("", "neither Suite nor Codename: no Release file")
	}
	if r.get("date") == nil {
		return bad("", "no Date: no Release file")
	}
	for _, name := range []string{"date", "valid-until"} {
		if f := r.get(name); f != nil && dateOf(f.value).IsZero() {
			return bad(f.name, "not a time like \"Sat, 10 Feb 2024 11:07:25 UTC\"")
		}
	}
	if len(r.lists) == 0 {
		return bad("", "no list of files: no Release file")
	}
	for _, l := range r.lists {
		for name, size := range l.sizes {
			for _, o := range r.lists {
				if s, there := o.sizes[name]; there && s != size {
					return bad(l.name, "a file has another size than in another list")
				}
			}
		}
	}
	return nil
}

// get is a field that is no list, by its name in lower case.
func (r *releaseFile) get(name string) *field {
	i := slices.IndexFunc(r.fields, func(f *field) bool { return f != nil && strings.ToLower(f.name) == name })
	if i < 0 {
		return nil
	}
	return r.fields[i]
}

// dateOf reads a time as the tools that make Release files write it, zero if it is
// none.
func dateOf(s string) time.Time {
	for _, zone := range []string{"UTC", "GMT", "+0000", "Z"} {
		if rest, ok := strings.CutSuffix(s, " "+zone); ok {
			for _, form := range []string{"Mon, 02 Jan 2006 15:04:05", "Mon, 2 Jan 2006 15:04:05"} {
				if t, err := time.Parse(form, rest); err == nil && t.Format(form) == rest {
					return t
				}
			}
		}
	}
	return time.Time{}
}

// first are the fields that stand first, under the names that people know.
var first = []string{"Origin", "Label", "Suite", "Codename", "Version", "Date", "Valid-Until"}

func (r *releaseFile) page() (*form.Page, error) {
	p := new(form.Page)
	p.Say(0, "Release file of an apt repository")
	for _, name := range first {
		f := r.get(strings.ToLower(name))
		switch {
		case f != nil:
			p.Say(1, "%s: %s", name, f.shown())
		case name == "Valid-Until":
			p.Say(1, "Valid-Until: none, it never expires")
		}
	}
	for _, l := range r.lists {
		p.Say(1, "%s of %s", l.name, form.Count(len(l.sizes), "file"))
	}
	if !slices.ContainsFunc(r.lists, func(l *fileList) bool { return l.name == "SHA256" || l.name == "SHA512" }) {
		p.Say(1, "weak: no SHA256 or SHA512 of its files")
	}
	for _, f := range r.fields {
		if f != nil && !slices.ContainsFunc(first, func(n string) bool { return strings.EqualFold(n, f.name) }) {
			p.Say(1, "%s: %s", form.Clip(f.name, form.MaxFree), f.shown())
		}
	}
	if p.Long() {
		return nil, form.TooMuch(p)
	}
	if f := r.get("valid-until"); f != nil {
		p.Expires = dateOf(f.value)
	}
	return p, nil
}

// shown is the value; times are checked, and blanks between words are not worth
// quotes. Only a description is free text that may be cut: a list of keys
// (Signed-By) would hide its last ones.
func (f *field) shown() string {
	if t := dateOf(f.value); !t.IsZero() {
		return t.Format("2006-01-02 15:04:05 UTC")
	}
	most := len(f.value)
	if strings.EqualFold(f.name, "Description") {
		most = form.MaxFree
	}
	joined := strings.ReplaceAll(f.value, " ", "")
	if joined != "" && form.Show(joined) == joined && !slices.Contains(strings.Split(f.value, " "), "") && len(f.value) <= most {
		return f.value
	}
	return form.Clip(f.value, most)
}
