package policy

import (
	"testing"

	"pgregory.net/rapid"
)

// matchAsSpecified is docs/spec/policy.md section 2, written down again: '?'
// one character, '*' none or more, neither a slash, all else itself.
func matchAsSpecified(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	one := name != "" && name[0] != '/'
	switch pattern[0] {
	case '*':
		return matchAsSpecified(pattern[1:], name) || one && matchAsSpecified(pattern, name[1:])
	case '?':
		return one && matchAsSpecified(pattern[1:], name[1:])
	}
	return name != "" && name[0] == pattern[0] && matchAsSpecified(pattern[1:], name[1:])
}

func TestPropertyPatternsMatchAsSpecified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Class{Names: []string{rapid.StringMatching(`[ab./*?]{0,8}`).Draw(t, "pattern")}}
		name := rapid.StringMatching(`[ab./]{0,8}`).Draw(t, "name")
		if got, want := c.matches(name), matchAsSpecified(c.Names[0], name); got != want {
			t.Fatalf("%q on %q: %v, specified %v", c.Names[0], name, got, want)
		}
	})
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.db.tar.gz", "core.db.tar.gz", true},
		{"*.db.tar.gz", ".db.tar.gz", true},
		{"*.db.tar.gz", "core.db.tar.gz.sig", false},
		{"*.db.tar.gz", "core.db.tar.gzz", false},
		{"*.db.tar.gz", "core/x.db.tar.gz", false},
		{"core/*/core.db", "core/x86_64/core.db", true},
		{"core/*/core.db", "core/x86_64/y/core.db", false},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"a.c", "abc", false},
		{"a+c", "aac", false},
		{"A*", "a", false},
	} {
		class := Class{Names: []string{"nothing", c.pattern}}
		if got := class.matches(c.name); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.name, got)
		}
	}
}
