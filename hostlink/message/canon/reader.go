package canon

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Problem names a way in which a text is not canonical, for callers that
// branch and for readers of docs/spec/message.md section 1.
type Problem string

// The problems.
const (
	TooLong     Problem = "too-long"     // a text or line beyond its bound
	OtherDomain Problem = "other-domain" // the first line is not the expected one
	WrongLine   Problem = "wrong-line"   // another line stands where one is due
	CutOff      Problem = "cut-off"      // the text ends too soon
	Surplus     Problem = "surplus"      // something stands behind the end
	BadField    Problem = "bad-field"    // spaces or bytes that no field has
	FieldCount  Problem = "field-count"  // a line with too many or too few fields
	BadBlock    Problem = "bad-block"    // bytes that no block holds
	BadNumber   Problem = "bad-number"   // not a decimal number in its one encoding
	TooLarge    Problem = "too-large"    // a number beyond its bound
	BadHex      Problem = "bad-hex"
	BadBase64   Problem = "bad-base64"
	BadTime     Problem = "bad-time"
	BadValue    Problem = "bad-value" // what the text's own rules forbid
)

// Error says where and why a text is not canonical.
type Error struct {
	Problem Problem
	Domain  string // the domain the reader wanted
	Line    int    // 1 is the domain line; lines of blocks are counted
	Reason  string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s line %d: %s", e.Domain, e.Line, e.Reason)
}

// Reader takes a canonical text apart. Errors are sticky: after the first
// one, every call returns zero values of the promised shape, so a parser can
// be written straight through and ask for the error once, at Close.
type Reader struct {
	domain string
	rest   []byte
	line   int
	err    error
}

// NewReader starts reading text, whose first line must be domain. The reader
// keeps text; what it returns as []byte is copied.
func NewReader(text []byte, domain string) *Reader {
	return NewReaderMax(text, domain, MaxText)
}

// NewReaderMax is NewReader for a domain with a bound of its own, below
// MaxText.
func NewReaderMax(text []byte, domain string, max int) *Reader {
	r := &Reader{domain: domain, rest: text, line: 1}
	if len(text) > max {
		r.fail(TooLong, "text of %d bytes, at most %d", len(text), max)
		return r
	}
	first, rest, ok := bytes.Cut(text, []byte("\n"))
	if !ok || string(first) != domain {
		r.fail(OtherDomain, "want %q, got %s", domain, quote(first))
		return r
	}
	r.rest = rest
	return r
}

// Peek returns the key of the next line without consuming it, "" at the end
// of the text or after an error.
func (r *Reader) Peek() string {
	if r.err != nil {
		return ""
	}
	end := bytes.IndexAny(r.rest[:min(len(r.rest), MaxDomain+1)], " \n")
	if end < 0 || !ValidKey(string(r.rest[:end])) {
		return ""
	}
	return string(r.rest[:end])
}

// Line consumes the next line, which must have this key and exactly n fields,
// and returns the fields; after an error it returns n empty strings.
func (r *Reader) Line(key string, n int) []string {
	if fields, ok := r.take(key, n); ok {
		return fields
	}
	return make([]string, n)
}

func (r *Reader) take(key string, n int) ([]string, bool) {
	if r.err != nil {
		return nil, false
	}
	r.line++
	end := bytes.IndexByte(r.rest[:min(len(r.rest), MaxLine+1)], '\n')
	if end < 0 {
		r.noLine(key)
		return nil, false
	}
	parts := strings.SplitN(string(r.rest[:end]), " ", n+2)
	if len(parts) != n+1 { // see what is wrong
		parts = strings.SplitN(string(r.rest[:end]), " ", MaxFields+2)
	}
	if parts[0] != key {
		r.fail(WrongLine, "want %q, got %s", key, quote(r.rest[:end]))
		return nil, false
	}
	if len(parts)-1 > MaxFields {
		r.fail(FieldCount, "%s: more than %d fields", key, MaxFields)
		return nil, false
	}
	for _, f := range parts[1:] {
		if !ValidField(f) {
			r.fail(BadField, "%s: fields are separated by one space and hold printable ASCII only", key)
			return nil, false
		}
	}
	if len(parts)-1 != n {
		r.fail(FieldCount, "%s: %d fields, want %d", key, len(parts)-1, n)
		return nil, false
	}
	r.rest = r.rest[end+1:]
	return parts[1:], true
}

func (r *Reader) noLine(key string) {
	switch {
	case len(r.rest) == 0:
		r.fail(CutOff, "the text ends where %q should stand", key)
	case len(r.rest) > MaxLine:
		r.fail(TooLong, "%s: line longer than %d bytes", key, MaxLine)
	default:
		r.fail(CutOff, "%s: the last line has no newline", key)
	}
}

// Block consumes "key N\n" and the N bytes that follow, at most max, and
// returns a copy of them; nil after an error.
func (r *Reader) Block(key string, max int) []byte {
	n := int(r.Uint(r.Line(key, 1)[0], uint64(max)))
	switch {
	case r.err != nil:
		return nil
	case n > len(r.rest):
		r.fail(CutOff, "%s: %d bytes announced, %d left", key, n, len(r.rest))
		return nil
	case !ValidBody(r.rest[:n]):
		r.fail(BadBlock, "%s: the embedded text is empty, has control bytes or does not end in a newline", key)
		return nil
	}
	body := bytes.Clone(r.rest[:n])
	r.rest = r.rest[n:]
	r.line += bytes.Count(body, []byte("\n"))
	return body
}

// Uint decodes a decimal number without sign or leading zeros, at most max.
func (r *Reader) Uint(s string, max uint64) uint64 {
	if r.err != nil {
		return 0
	}
	if !isDecimal(s) {
		r.fail(BadNumber, "%s is not a decimal number without leading zeros", quote([]byte(s)))
		return 0
	}
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil || u > max {
		r.fail(TooLarge, "%s is too large, at most %d", quote([]byte(s)), max)
		return 0
	}
	return u
}

// isDecimal reports whether s is a number in its one encoding, of any size.
func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

// Hex decodes exactly n bytes of lowercase hexadecimal. After an error it
// returns n zero bytes, so that the result always fits an array.
func (r *Reader) Hex(s string, n int) []byte {
	if r.err != nil {
		return make([]byte, n)
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != n || strings.ToLower(s) != s {
		r.fail(BadHex, "%s is not %d bytes of lowercase hexadecimal", quote([]byte(s)), n)
		return make([]byte, n)
	}
	return b
}

// canonical refuses bits behind the last byte; it passes over line ends.
var canonical = base64.StdEncoding.Strict()

// Base64 decodes standard padded base64 of 1 to max bytes; "-" is the empty
// value and gives nil.
func (r *Reader) Base64(s string, max int) []byte {
	if r.err != nil || s == "-" {
		return nil
	}
	if len(s) > base64.StdEncoding.EncodedLen(max) {
		r.fail(BadBase64, "base64 value of %d characters, at most %d bytes allowed", len(s), max)
		return nil
	}
	b, err := canonical.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > max || strings.ContainsAny(s, "\r\n") {
		r.fail(BadBase64, "%s is not canonical padded base64 of at most %d bytes", quote([]byte(s)), max)
		return nil
	}
	return b
}

// Time decodes a TimeLayout time of a year in MinYear..MaxYear.
func (r *Reader) Time(s string) time.Time {
	if r.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(TimeLayout, s)
	if err != nil || Time(t) != s || t.Year() < MinYear || t.Year() > MaxYear {
		r.fail(BadTime, "%s is not a time like 2026-01-02T15:04:05Z", quote([]byte(s)))
		return time.Time{}
	}
	return t
}

// Failf records a BadValue at the present line, unless an error is recorded
// already. Parsers use it for what their own domain forbids.
func (r *Reader) Failf(format string, a ...any) { r.fail(BadValue, format, a...) }

func (r *Reader) fail(p Problem, format string, a ...any) {
	if r.err == nil {
		r.err = &Error{Problem: p, Domain: r.domain, Line: r.line, Reason: fmt.Sprintf(format, a...)}
	}
}

// Err returns the first error (an *Error), nil when there is none.
func (r *Reader) Err() error { return r.err }

// Close returns the first error, or one if anything is left unread.
func (r *Reader) Close() error {
	if r.err == nil && len(r.rest) > 0 {
		r.line++
		first, _, _ := bytes.Cut(r.rest, []byte("\n"))
		r.fail(Surplus, "nothing more expected, got %s", quote(first))
	}
	return r.err
}

// quote makes hostile bytes fit for an error message: escaped, shortened.
func quote(b []byte) string {
	const most = 60
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
