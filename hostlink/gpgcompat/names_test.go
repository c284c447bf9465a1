package gpgcompat

import (
	"path/filepath"
	"strings"
	"testing"

	"touchmark/hostlink/message"
)

func TestName(t *testing.T) {
	for _, c := range []struct{ args, head, want string }{
		{"-b", "object 12\ntype commit\ntag v1.0\ntagger A\n\nx", "v1.0.git-tag"},
		{"-b", "object 12\ntype commit\ntag a/b c\n", "b_c.git-tag"},
		{"-b", "tree 12\nparent 13\nauthor A\ncommitter A\n\nx", "git-commit"},
		{"-b", "Origin: x\nSuite: stable\nSHA256:\n 00 1 a\n", "Release"},
		{"-b", `{"_type":"layout","expires"`, "layout.in-toto"},
		{"-b", `{"_type":"link","byproducts"`, "link.in-toto"},
		{"-b", "tree of life", "stdin"},
		{"-b", "", "stdin"},
		{"-b -o /x/InRelease", "", "InRelease"},
		{"-b -o x.rpm.sig", "", "x.rpm"},
		{"-b -o .sig", "", ".sig"},
		{"-b /d/.tmp.core.db.tar.gz", "", "core.db.tar.gz"},
		{"-b /d/Release.new", "", "Release"},
		{"-b .new", "", ".new"},
		{"-b /d/my.key.gpg", "", "my.key.gpg"},
		{"-b a\x00b\u00e9..c", "", "a_b__._c"},
		{"-b -- -rf", "", "_-rf"},
		{"-b /d/" + strings.Repeat("x", 300), "", strings.Repeat("x", 200)},
	} {
		call, err := Parse(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		got := call.Name([]byte(c.head))
		if got != c.want || message.ValidName(got) != nil {
			t.Errorf("%s %q: %q, want %q", filepath.Base(c.args), c.head, got, c.want)
		}
	}
}
