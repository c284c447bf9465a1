// Package form is what readers of documents share: a value with its place, whose
// first mistake is kept (Node), and lines for a console, in which nothing that a
// document says passes for anything else (Page, Show).
package form

import "fmt"

// Problem is a way in which bytes are no document.
type Problem string

// The problems.
const (
	Forbidden  Problem = "forbidden"  // the format is over files, not over documents
	TooLarge   Problem = "too-large"  // more than message.MaxDocument bytes
	Encoding   Problem = "encoding"   // not in the one form, or to be read in two ways
	Content    Problem = "content"    // something is missing, unknown or not what it should be
	Unreadable Problem = "unreadable" // its meaning is more than a person reads
)

// Error refuses bytes as a document.
type Error struct {
	Problem Problem
	Where   string // in the document, such as "steps[0].threshold"; may be empty
	Reason  string // printable ASCII
}

// Error implements error.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Reason
	}
	return e.Where + ": " + e.Reason
}

// Refuse is the error for a place in a document.
func Refuse(problem Problem, where, format string, a ...any) *Error {
	return &Error{problem, where, fmt.Sprintf(format, a...)}
}

// TooMuch refuses a document that means more than a person reads.
func TooMuch(p *Page) *Error {
	return Refuse(Unreadable, "", "its meaning has %d lines, a person is shown %d at most: make it smaller", len(p.Lines), MaxLines-1)
}
