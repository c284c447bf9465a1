package sigformat

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxLine bounds a line of canonical text: gpg cuts longer ones off where others do
// not.
const MaxLine = 19000

// TextError refuses a file as a text: tools would not agree about what a
// signature over it covers.
type TextError struct {
	Line   int // counted from 1
	Reason string
}

// Error implements error.
func (e *TextError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// text hashes a file as canonical text (RFC 9580 §5.2.1.2, §7.2): every line end
// is CR LF. With trim, blanks at the ends of lines are left out, and the end of the
// last line too. It holds one line at a time.
type text struct {
	h    io.Writer // that never fails
	trim bool

	line []byte // so far, without its end
	done int    // lines that h has
	err  error
}

// Write implements io.Writer.
func (t *text) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && t.err == nil {
		head, rest, ended := bytes.Cut(p, []byte{'\n'})
		if len(t.line)+len(head) > MaxLine+len("\r") {
			t.fail(tooLong)
			break
		}
		t.line, p = append(t.line, head...), rest
		if ended {
			t.end()
		}
	}
	return n, t.err
}

// end hashes a line that ended.
func (t *text) end() {
	t.flush(bytes.TrimSuffix(t.line, []byte{'\r'}))
	if t.err == nil && !t.trim {
		_, _ = t.h.Write([]byte("\r\n"))
	}
	t.line, t.done = t.line[:0], t.done+1
}

// flush hashes the bytes of a line; with trim the end of the line before is
// hashed only now that there is another one.
func (t *text) flush(line []byte) {
	if reason := notText(line); reason != "" {
		t.fail(reason)
		return
	}
	if t.trim {
		line = bytes.TrimRight(line, " \t")
		if t.done > 0 {
			_, _ = t.h.Write([]byte("\r\n"))
		}
	}
	_, _ = t.h.Write(line) // hashes never fail
}

// Close hashes a last line without an end.
func (t *text) Close() error {
	if t.err == nil && len(t.line) > 0 {
		t.flush(t.line)
	}
	return t.err
}

func (t *text) fail(reason string) { t.err = &TextError{t.done + 1, reason} }

var tooLong = fmt.Sprintf("longer than %d bytes", MaxLine)

// notText says what keeps a line from being one, "" if nothing does.
func notText(line []byte) string {
	switch {
	case len(line) > MaxLine:
		return tooLong
	case bytes.IndexByte(line, '\r') >= 0:
		return "a CR that is not before a LF"
	case bytes.ContainsFunc(line, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }):
		return "a control character"
	case !utf8.Valid(line):
		return "not UTF-8"
	}
	return ""
}
