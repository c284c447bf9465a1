package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Error is an error with its exit code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error, as fmt.Errorf does.
func Errorf(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// CodeOf gives the exit code of an error, other if it has none.
func CodeOf(err error, other int) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return other
}

// Printable is a text that does nothing to a terminal: what is neither printable nor a new line or a tab is escaped.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// Fail is the last word to a client that something failed: its exit code, and the message as fmt.Sprintf makes it.
func Fail(code int, format string, args ...any) *Response {
	return &Response{Final: true, Code: code, Error: fmt.Sprintf(format, args...)}
}
