package strictjson

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads one JSON value. The error is an *Error.
func Parse(b []byte) (Value, error) { return parse(b, false) }

func parse(b []byte, canonical bool) (Value, error) {
	if len(b) > MaxBytes {
		return nil, &Error{MaxBytes, fmt.Sprintf("%d bytes, at most %d", len(b), MaxBytes)}
	}
	if i := invalid(b); i >= 0 {
		return nil, &Error{i, "not UTF-8, or a NUL"}
	}
	p := &parser{b: b, canonical: canonical}
	v := p.value(0)
	if p.space(); p.at < len(b) {
		p.fail("something behind the value")
	}
	if p.err != nil {
		return nil, p.err
	}
	return v, nil
}

// invalid is where b ceases to be text, -1 if it does not.
func invalid(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == 0 || r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// parser walks over b. At the first mistake it goes to the end, where nothing
// more is found.
type parser struct {
	b         []byte
	at        int
	canonical bool // control characters may stand in strings
	err       *Error
}

func (p *parser) fail(format string, a ...any) {
	if p.err == nil {
		p.err = &Error{p.at, fmt.Sprintf(format, a...)}
	}
	p.at = len(p.b)
}

func (p *parser) space() {
	for p.at < len(p.b) && strings.IndexByte(" \t\r\n", p.b[p.at]) >= 0 {
		p.at++
	}
}

// next skips spaces and looks at what follows, 0 at the end.
func (p *parser) next() byte {
	if p.space(); p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

// take consumes c if it follows.
func (p *parser) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) need(c byte) {
	if !p.take(c) {
		p.fail("%q is missing", c)
	}
}

func (p *parser) value(depth int) Value {
	switch c := p.next(); {
	case c == '{' || c == '[':
		if depth == MaxDepth {
			p.fail("nested deeper than %d", MaxDepth)
			return nil
		}
		if p.at++; c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		return p.text()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	}
	for word, v := range map[string]Value{"true": true, "false": false, "null": nil} {
		if bytes.HasPrefix(p.b[p.at:], []byte(word)) {
			p.at += len(word)
			return v
		}
	}
	p.fail("no JSON value")
	return nil
}

func (p *parser) object(depth int) *Object {
	o := new(Object)
	if p.take('}') {
		return o
	}
	for p.err == nil {
		if p.next() != '"' {
			p.fail("a member's name is missing")
			break
		}
		name := p.text()
		if _, twice := o.Get(name); twice {
			p.fail("%s is twice in one object", shortened(name))
		}
		p.need(':')
		o.Set(name, p.value(depth))
		if p.take('}') {
			break
		}
		p.need(',')
	}
	return o
}

func (p *parser) array(depth int) Array {
	a := Array{}
	if p.take(']') {
		return a
	}
	for p.err == nil {
		a = append(a, p.value(depth))
		if p.take(']') {
			break
		}
		p.need(',')
	}
	return a
}

// number is one of RFC 8259 §6.
var number = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`)
})

func (p *parser) number() Number {
	s := string(number().Find(p.b[p.at:min(len(p.b), p.at+maxNumber+1)]))
	n, whole := Number(s), !strings.ContainsAny(s, ".eE")
	_, fits := n.Int()
	_, err := strconv.ParseFloat(s, 64)
	if s == "" || len(s) > maxNumber || whole && !fits || err != nil {
		p.fail("no number that every reader has")
		return n
	}
	p.at += len(s)
	return n
}

// text reads a string from its opening quote on.
func (p *parser) text() string {
	var s strings.Builder
	for p.at++; p.at < len(p.b); {
		switch c := p.b[p.at]; {
		case c == '"':
			p.at++
			return s.String()
		case c == '\\':
			s.WriteRune(p.escape())
		case c < 0x20 && !p.canonical:
			p.fail("a control character in a string")
		default:
			s.WriteByte(c)
			p.at++
		}
	}
	p.fail("a string without end")
	return ""
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *parser) escape() rune {
	if p.at+1 < len(p.b) {
		if r, ok := escapes[p.b[p.at+1]]; ok {
			p.at += 2
			return r
		}
	}
	r := p.unit()
	if utf16.IsSurrogate(r) {
		if r = utf16.DecodeRune(r, p.unit()); r == utf8.RuneError {
			p.fail("half a character")
		}
	}
	if r == 0 {
		p.fail("a NUL")
	}
	return r
}

// unit reads a backslash, a u and four digits.
func (p *parser) unit() rune {
	digits, ok := bytes.CutPrefix(p.b[p.at:min(len(p.b), p.at+6)], []byte(`\u`))
	n, err := strconv.ParseUint(string(digits), 16, 16)
	if !ok || len(digits) != 4 || err != nil {
		p.fail("no escape that JSON has, or half a character")
		return utf8.RuneError
	}
	p.at += 6
	return rune(n)
}

// shortened makes hostile text fit for an error message.
func shortened(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
