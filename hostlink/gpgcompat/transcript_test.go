package gpgcompat

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// meant is what each recorded call of a tool is answered with, in order; "pass" is the real gpg's.
var meant = map[string][]string{
	"repo-add": {"list KEY", "sign openpgp-binary by [KEY] of /d/.tmp.demo.db.tar.gz to /d/.tmp.demo.db.tar.gz.sig named demo.db.tar.gz",
		"sign openpgp-binary by [KEY] of /d/.tmp.demo.files.tar.gz to /d/.tmp.demo.files.tar.gz.sig named demo.files.tar.gz"},
	"makepkg": {"list KEY", "list KEY",
		"sign openpgp-binary by [KEY] of /d/hello-1.0-1-any.pkg.tar.zst to /d/hello-1.0-1-any.pkg.tar.zst.sig named hello-1.0-1-any.pkg.tar.zst"},
	"git": {"sign openpgp-binary armor by [KEY] of - to - named stdin status 2", "sign openpgp-binary armor by [KEY] of - to - named stdin status 2",
		"pass", "pass"},
	"reprepro": {"pass", "list colons KEY", "sign openpgp-binary armor by [KEYID] of -&7 to - named stdin status 7",
		"sign openpgp-cleartext by [KEYID] of -&7 to - named stdin status 7"},
	"aptly": {"pass", "pass", "sign openpgp-binary armor sha256 yes by [KEY] of /t/Release to /t/Release.gpg named Release",
		"sign openpgp-cleartext sha256 yes by [KEY] of /t/Release to /t/InRelease named Release"},
	"dpkg": {"sign openpgp-cleartext armor by [KEY] of /d/hello.dsc to /d/hello.dsc.asc named hello.dsc"},
	"debsign": {"pass", "sign openpgp-cleartext armor by [KEY] of /t/hello_1.0.dsc to /t/hello_1.0.dsc.asc named hello_1.0.dsc",
		"pass", "sign openpgp-cleartext armor by [KEY] of /t/hello_1.0_source.changes to /t/hello_1.0_source.changes.asc named hello_1.0_source.changes"},
	"debsigs":          {"sign openpgp-binary by [KEY] of - to - named stdin"},
	"rpmsign":          {"sign openpgp-binary by [KEY] of - to /d/hello-1-1.noarch.rpm.sig named hello-1-1.noarch.rpm"},
	"securesystemslib": {"pass", "sign openpgp-binary sha256 by [KEY] of - to - named stdin", "pass"},
}

// word is one argument; quoted if there are spaces in it.
var word = regexp.MustCompile(`"[^"]*"|\S+`)

// TestTranscripts holds the parser against the calls that were recorded from the tools themselves (tests/consumers
// records them anew and compares, but for debsign's).
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/calls/*.txt")
	if err != nil || len(files) != len(meant) {
		t.Fatalf("%d transcripts, %d meanings: %v", len(files), len(meant), err)
	}
	for _, path := range files {
		tool := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(tool, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for line := range strings.Lines(string(text)) {
				argv := word.FindAllString(strings.NewReplacer("$DIR", "/d", "$TMP", "/t", "$FD", "7", "$", "").Replace(line), -1)
				if argv[0] == "gpg" {
					said = append(said, describe(t, argv[1:]))
				}
			}
			if want := meant[tool]; strings.Join(said, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestToolsAreDocumented: docs/tools.md names each of them, in the version that was recorded.
func TestToolsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	for tool := range meant {
		text, err := os.ReadFile("testdata/calls/" + tool + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		version := regexp.MustCompile(`[0-9]+\.[0-9.]*[0-9]`).FindString(string(text))
		if version == "" || !strings.Contains(string(page), tool) || !strings.Contains(string(page), version) {
			t.Errorf("docs/tools.md has no %s %s", tool, version)
		}
	}
}

// describe says a call in words.
func describe(t *testing.T, args []string) string {
	t.Helper()
	c, err := Parse(args)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	var b strings.Builder
	word := func(on bool, w string) {
		if on {
			b.WriteString(" " + w)
		}
	}
	switch c.Kind {
	case Pass:
		return "pass"
	case List:
		word(c.Colons, "colons")
		return "list" + b.String() + " " + strings.Join(c.Patterns, " ")
	case Sign:
	}
	word(c.Armor, "armor")
	word(c.Hash != "", string(c.Hash))
	word(c.Yes, "yes")
	fmt.Fprintf(&b, " by %s of %s to %s named %s", c.Users, c.File, c.Output, c.Name([]byte("data")))
	word(c.Status != "", "status "+c.Status)
	return "sign " + c.Format.Name + b.String()
}
