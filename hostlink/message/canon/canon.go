// Package canon reads and writes the one text format Touchmark uses for
// everything that is not a file signature: approvals, submissions, link
// messages, log entries, proofs.
//
// A text is a domain line (for example "touchmark/approval/v1") followed by
// lines in an order fixed by its domain:
//
//	domain \n
//	key SP field SP field ... \n      fields are 1 or more bytes 0x21-0x7e
//	key SP N \n <N bytes>             a block: another text, verbatim
//
// Fields are separated by exactly one space, no line ends in a space, and the
// only line end is \n. A block's bytes are valid UTF-8 without control
// characters other than \n and end in \n.
//
// Guarantees: every value has one encoding (see the Reader's and the
// package's value functions), so parsing and writing again gives the same
// bytes; anything else is refused, never repaired. A Reader allocates no more
// than a small multiple of its input. The package is pure.
//
// Compatibility: a domain never changes its meaning; a new shape gets a new
// version number in its domain line.
package canon

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"
)

// TimeLayout is the only encoding of a time: UTC, whole seconds (RFC 3339
// with the letter Z).
const TimeLayout = "2006-01-02T15:04:05Z"

// Hex encodes b as lowercase hexadecimal.
func Hex(b []byte) string { return hex.EncodeToString(b) }

// Base64 encodes b in standard padded base64 (RFC 4648 section 4); the empty
// value is "-", because a field is never empty.
func Base64(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Uint encodes u in decimal.
func Uint(u uint64) string { return strconv.FormatUint(u, 10) }

// Time encodes t in UTC, dropping fractions of a second. A year outside
// MinYear..MaxYear gives a text that no Reader accepts.
func Time(t time.Time) string { return t.UTC().Format(TimeLayout) }

// Domain returns the first line of text, for dispatch, or "" when text has no
// first line of at most MaxDomain printable bytes.
func Domain(text []byte) string {
	for i, c := range text[:min(len(text), MaxDomain+1)] {
		if c == '\n' {
			return string(text[:i])
		}
		if !graphic(c) {
			return ""
		}
	}
	return ""
}

// ValidBody reports whether body may stand in a block: not empty, valid
// UTF-8, no control byte but \n, ending in \n.
func ValidBody(body []byte) bool {
	if len(body) == 0 || body[len(body)-1] != '\n' || !utf8.Valid(body) {
		return false
	}
	for _, c := range body {
		if c < 0x20 && c != '\n' || c == 0x7f {
			return false
		}
	}
	return true
}

// ValidField reports whether s may stand as a field: 1 or more bytes
// 0x21-0x7e.
func ValidField(s string) bool {
	for i := range len(s) {
		if !graphic(s[i]) {
			return false
		}
	}
	return s != ""
}

// ValidKey reports whether s may stand at the start of a line: a lowercase
// letter, then lowercase letters, digits and hyphens.
func ValidKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= MaxDomain
}

func graphic(c byte) bool { return 0x21 <= c && c <= 0x7e }
