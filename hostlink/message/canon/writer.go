package canon

import (
	"bytes"
	"fmt"
)

// Writer builds one canonical text. The first value that has no canonical
// form makes the writer fail for good: Bytes is then nil and Err says why, so
// a mistake can never leave as a text that means something else.
type Writer struct {
	buf bytes.Buffer
	err error
}

// NewWriter starts a text of the given domain.
func NewWriter(domain string) *Writer {
	w := &Writer{}
	w.buf.WriteString(domain)
	w.buf.WriteByte('\n')
	if !ValidField(domain) || len(domain) > MaxDomain {
		w.failf("%q is not a domain", domain)
	}
	return w
}

// Line appends "key field field...\n".
func (w *Writer) Line(key string, fields ...string) {
	start := w.buf.Len()
	w.buf.WriteString(key)
	for _, f := range fields {
		if !ValidField(f) {
			w.failf("%s: %q is not a field", key, f)
		}
		w.buf.WriteByte(' ')
		w.buf.WriteString(f)
	}
	switch {
	case !ValidKey(key):
		w.failf("%q is not a key", key)
	case len(fields) > MaxFields:
		w.failf("%s: %d fields, at most %d", key, len(fields), MaxFields)
	case w.buf.Len()-start > MaxLine:
		w.failf("%s: line of %d bytes, at most %d", key, w.buf.Len()-start, MaxLine)
	}
	w.buf.WriteByte('\n')
}

// Block appends "key N\n" and the N bytes of body, verbatim.
func (w *Writer) Block(key string, body []byte) {
	w.Line(key, Uint(uint64(len(body))))
	if !ValidBody(body) {
		w.failf("%s: the embedded text is empty, has control bytes or does not end in a newline", key)
	}
	w.buf.Write(body)
}

// Bytes returns the text, or nil when a value could not be written.
func (w *Writer) Bytes() []byte {
	if w.Err() != nil {
		return nil
	}
	return bytes.Clone(w.buf.Bytes())
}

// Err returns the first failure, nil when there was none.
func (w *Writer) Err() error {
	if w.err == nil && w.buf.Len() > MaxText {
		w.failf("text of %d bytes, at most %d", w.buf.Len(), MaxText)
	}
	return w.err
}

func (w *Writer) failf(format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("cannot write this text: "+format, a...)
	}
}
