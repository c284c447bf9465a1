package message

import (
	"fmt"
	"strings"
)

// ValidName reports why s cannot be an artifact name, nil if it can. A name
// is 1..MaxName bytes of [A-Za-z0-9._+@:~/-], so that no display can be
// fooled; each of its '/'-separated segments starts with a letter, digit, '.'
// or '_' (never taken for an option, a home directory or a root), no segment
// is "." and ".." appears nowhere (never a path escape).
func ValidName(s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("artifact name of %d bytes: use 1 to %d", len(s), MaxName)
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && strings.IndexByte("._+@:~/-", s[i]) < 0 {
			// The byte as it is: %q of it alone would show half a UTF-8 character as another one.
			return fmt.Errorf("artifact name %s: byte %d (%q) is not one of A-Z a-z 0-9 . _ + @ : ~ / -", quote(s), i+1, s[i:i+1])
		}
	}
	if strings.Contains(s, "..") {
		return fmt.Errorf("artifact name %s: %q is not allowed", quote(s), "..")
	}
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" || seg == "." || !alphanumeric(seg[0]) && seg[0] != '.' && seg[0] != '_' {
			return fmt.Errorf("artifact name %s: each part between slashes must start with a letter, digit, '.' or '_' and be more than %q", quote(s), ".")
		}
	}
	return nil
}

// ValidOrigin reports why s cannot be a log origin, nil if it can. An origin
// is a C2SP signed-note key name narrowed to what is safe in OpenPGP notation
// names and on displays: a lowercase host name of letters, digits, '.' and
// '-', then optional '/'-separated segments of [A-Za-z0-9._~-]; no spaces, no
// '+', at most MaxOrigin bytes.
func ValidOrigin(s string) error {
	if s == "" || len(s) > MaxOrigin {
		return fmt.Errorf("origin of %d bytes: use 1 to %d, like touchmark.example/demo", len(s), MaxOrigin)
	}
	host, path, hasPath := strings.Cut(s, "/")
	if !validHost(host) {
		return fmt.Errorf("origin %s: must start with a lowercase host name of letters, digits, '.' and '-', like touchmark.example/demo", quote(s))
	}
	for seg := range strings.SplitSeq(path, "/") {
		if hasPath && !validSegment(seg) {
			return fmt.Errorf("origin %s: the parts after the host name hold letters, digits, '.', '_', '~' and '-', like touchmark.example/demo", quote(s))
		}
	}
	return nil
}

func validHost(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && (!alphanumeric(c) || 'A' <= c && c <= 'Z') {
				return false
			}
		}
	}
	return true
}

func validSegment(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && strings.IndexByte("._~-", s[i]) < 0 {
			return false
		}
	}
	return s != "" && s != "." && s != ".."
}

// ValidToken reports whether s may be a class, state or code: 1..MaxToken
// bytes, a lowercase letter or digit, then [a-z0-9._-].
func ValidToken(s string) bool { return validWord(s, "._-") }

// ValidFormat reports whether s may name a signature format: a token in which @
// may stand too, because namespaces of SSH signatures are such as
// file@example.org (PROTOCOL.sshsig).
func ValidFormat(s string) bool { return validWord(s, "._-@") }

// validWord: a-z and 0-9, behind the first of them the characters of also too.
func validWord(s, also string) bool {
	for i := range len(s) {
		c := s[i]
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || strings.IndexByte(also, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= MaxToken
}

// ValidHuman reports whether s may be a line for people: 1..MaxHuman bytes of
// UTF-8, every character printable, because it goes to terminals and displays.
func ValidHuman(s string) bool { return s != "" && humanLine(s) == s }

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// quote makes hostile text fit for an error message: escaped, shortened.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
