package document

import (
	"fmt"
	"strings"
	"testing"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/hostlink/message"
)

// TestReleaseRefused: what apt, or another reader, could take for something else is
// no document; it can still be signed by its hash.
func TestReleaseRefused(t *testing.T) {
	good := string(find(t, "release-dak").file)
	const sha = "b1bff4ce8ef2da6f3b4d7d3de8b7d2c1b1ee0a4cc23bf2f0a1f8a9c7a0b0a111"
	for _, c := range []struct {
		name, old, new string
		problem        form.Problem
		where          string
	}{
		{"no end", "main/Contents-all\nSHA256", "main/Contents-all\r\nSHA256", form.Encoding, ""},
		{"control", "Debian-Security", "Debian\x1b[2J", form.Encoding, "line 2"},
		{"not UTF-8", "Debian-Security", "Debian\xff", form.Encoding, ""},
		{"blank line", "\nMD5Sum:", "\n\nMD5Sum:", form.Content, "line 16"},
		{"a second paragraph", "\nMD5Sum:", "\n\nSuite: other\nMD5Sum:", form.Content, "line 16"},
		{"comment", "\nMD5Sum:", "\n# MD5Sum:", form.Content, "line 16"},
		{"twice", "\nMD5Sum:", "\nSuite: other\nMD5Sum:", form.Content, "line 16"},
		{"twice, other case", "\nMD5Sum:", "\nsuite: other\nMD5Sum:", form.Content, "line 16"},
		{"list twice", "\nSHA256:", "\nmd5sum:", form.Content, "line 19"},
		{"begins with more", "Origin:", " Origin:", form.Content, "line 1"},
		{"no colon", "Label: ", "Label ", form.Content, "line 2"},
		{"blank in a name", "Label:", "La bel:", form.Content, "line 2"},
		{"list with a value", "SHA256:", "SHA256: x", form.Content, "line 19"},
		{"short digest", sha, sha[1:], form.Content, "line 20"},
		{"capitals", sha, strings.ToUpper(sha), form.Content, "line 20"},
		{"no size", "0 main/Contents-all\nSHA", "x main/Contents-all\nSHA", form.Content, "line 18"},
		{"size", "0 main/Contents-all\nSHA", "00 main/Contents-all\nSHA", form.Content, "line 18"},
		{"other sizes", "0 main/Contents-all\nSHA", "1 main/Contents-all\nSHA", form.Content, "MD5Sum"},
		{"file twice", "main/Contents-all\nSHA", "contrib/Contents-amd64\nSHA", form.Content, "line 18"},
		{"four words", "main/Contents-all\nSHA", "main/Contents all\nSHA", form.Content, "line 18"},
		{"time", "Sat, 1 Jun 2024 07:05:44 UTC", "2024-06-01", form.Content, "Date"},
		{"wrong weekday", "Sat, 1 Jun", "Sun, 1 Jun", form.Content, "Date"},
		{"other zone", "07:05:44 UTC\nAcq", "07:05:44 CEST\nAcq", form.Content, "Valid-Until"},
		{"no date", "Date:", "X-Date:", form.Content, ""},
	} {
		doc := strings.Replace(good, c.old, c.new, 1)
		if doc == good {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		refused(t, c.name, "openpgp-binary", []byte(doc), c.problem, c.where)
	}
	for name, doc := range map[string]string{"nothing": "", "no end": strings.TrimSuffix(good, "\n"), "CR LF": strings.ReplaceAll(good, "\n", "\r\n")} {
		refused(t, name, "openpgp-binary", []byte(doc), form.Encoding, "")
	}
	refused(t, "no lists", "openpgp-binary", []byte("Suite: x\nDate: Sat, 1 Jun 2024 07:05:44 UTC\n"), form.Content, "")
	refused(t, "no suite", "openpgp-binary", []byte("Date: Sat, 1 Jun 2024 07:05:44 UTC\nSHA256:\n"), form.Content, "")
	refused(t, "LF in text", "openpgp-text", []byte(good), form.Encoding, "")
	refused(t, "an end in cleartext", "openpgp-cleartext", []byte(strings.ReplaceAll(good, "\n", "\r\n")), form.Encoding, "")
	clear := strings.ReplaceAll(strings.TrimSuffix(good, "\n"), "\n", "\r\n")
	refused(t, "blanks in cleartext", "openpgp-cleartext", []byte(strings.Replace(clear, "yes", "yes ", 1)), form.Encoding, "line 8")
	refused(t, "an extra line in cleartext", "openpgp-cleartext", []byte(clear+"\r\n"), form.Encoding, "")
	refused(t, "any text", "openpgp-cleartext", []byte("I owe you nothing."), form.Content, "line 1")
	long := good
	for i := 0; len(long) <= message.MaxDocument; i++ {
		long += fmt.Sprintf(" %s 1 x%d\n", sha, i)
	}
	refused(t, "long", "openpgp-binary", []byte(long), form.TooLarge, "")
	many := good
	for i := range form.MaxLines {
		many = fmt.Sprintf("X%d: y\n", i) + many
	}
	refused(t, "many fields", "openpgp-binary", []byte(many), form.Unreadable, "")
}

// TestReleaseDangers: fields that change what apt trusts are shown, whatever they
// are called, and what is missing is said.
func TestReleaseDangers(t *testing.T) {
	signers := strings.Repeat("0123456789ABCDEF0123456789ABCDEF01234567, ", 5) + "BAD"
	doc := "Codename: trixie\nDate: Sat, 10 Feb 2024 11:07:25 +0000\nSigned-By: " + signers + "\nX-Odd: a\u202eb\nNotAutomatic: yes\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/Contents-all\n"
	d, err := Parse("openpgp-binary", []byte(doc))
	want := []string{
		"Release file of an apt repository",
		"  Codename: trixie",
		"  Date: 2024-02-10 11:07:25 UTC",
		"  Valid-Until: none, it never expires",
		"  MD5Sum of 1 file",
		"  weak: no SHA256 or SHA512 of its files",
		"  Signed-By: " + signers[:59],
		"    | " + signers[59:125],
		"    | " + signers[125:191],
		"    | " + signers[191:],
		`  X-Odd: "a\u202eb"`,
		"  NotAutomatic: yes",
	}
	if err != nil || strings.Join(d.Meaning, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v:\n%s", err, strings.Join(d.Meaning, "\n"))
	}
}
