package deb

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var made = time.Date(2026, 3, 2, 15, 4, 5, 0, time.UTC)

func sample() *Package {
	return &Package{
		Name: "example-client", Version: "1.2-3", Maintainer: "Zoë <zoe@touchmark.example>", Section: "admin",
		Relations: []Field{{"Depends", "gnupg"}}, Synopsis: "a sample", Text: []string{"first", "", "second"},
		Files: []File{{"usr/share/doc/example-client/README", []byte("read me\n")}, {"etc/example/b", nil}, {"etc/example/a", []byte{0, 1, 2}}},
		Time:  made, Scripts: map[string]string{"postrm": "#!/bin/sh\n"},
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// dpkg has dpkg-deb read a package.
func dpkg(t *testing.T, p *Package, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), p.FileName())
	must(0, os.WriteFile(file, must(p.Bytes()), 0o644))
	cmd := exec.CommandContext(t.Context(), "dpkg-deb", append([]string{args[0], file}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg-deb %s: %v (is dpkg installed? run \"make setup\")\n%s", args, err, out)
	}
	return string(out)
}

// TestAsDpkgReadsIt: Debian's own program finds in it what was put there, owned by root, with modes and times.
func TestAsDpkgReadsIt(t *testing.T) {
	const contents = `drwxr-xr-x root/root         0 2026-03-02 15:04 ./
drwxr-xr-x root/root         0 2026-03-02 15:04 ./etc/
drwxr-xr-x root/root         0 2026-03-02 15:04 ./etc/example/
drwxr-xr-x root/root         0 2026-03-02 15:04 ./usr/
drwxr-xr-x root/root         0 2026-03-02 15:04 ./usr/share/
drwxr-xr-x root/root         0 2026-03-02 15:04 ./usr/share/doc/
drwxr-xr-x root/root         0 2026-03-02 15:04 ./usr/share/doc/example-client/
-rw-r--r-- root/root         3 2026-03-02 15:04 ./etc/example/a
-rw-r--r-- root/root         0 2026-03-02 15:04 ./etc/example/b
-rw-r--r-- root/root         8 2026-03-02 15:04 ./usr/share/doc/example-client/README
`
	if got := dpkg(t, sample(), "--contents"); got != contents {
		t.Errorf("contents:\n%s", got)
	}
	const fields = `Package: example-client
Version: 1.2-3
Architecture: all
Maintainer: Zoë <zoe@touchmark.example>
Installed-Size: 2
Depends: gnupg
Section: admin
Priority: optional
Description: a sample
 first
 .
 second
`
	if got := dpkg(t, sample(), "--field"); got != fields {
		t.Errorf("fields:\n%s", got)
	}
	dir := t.TempDir()
	dpkg(t, sample(), "--control", dir)
	for name, want := range map[string]string{
		"conffiles": "/etc/example/a\n/etc/example/b\n", "postrm": "#!/bin/sh\n",
		"md5sums": "2eb6f3d85c8037648139f3ae51ee5274  usr/share/doc/example-client/README\n",
	} {
		if got := must(os.ReadFile(filepath.Join(dir, name))); string(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	out := filepath.Join(t.TempDir(), "x")
	dpkg(t, sample(), "--extract", out)
	if got := must(os.ReadFile(filepath.Join(out, "etc/example/a"))); !bytes.Equal(got, []byte{0, 1, 2}) {
		t.Errorf("a file is %q", got)
	}
}

// TestSameBytes: the order of the input is of no matter, and nothing of the machine is in the output.
func TestSameBytes(t *testing.T) {
	a, b := sample(), sample()
	slices.Reverse(b.Files)
	b.Time = made.In(time.FixedZone("elsewhere", 3600))
	if !bytes.Equal(must(a.Bytes()), must(b.Bytes())) {
		t.Error("other bytes")
	}
}

// TestRefused: what dpkg would refuse, or what would be another line of the control file.
func TestRefused(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Package)
		words  string
	}{
		"no name":          {func(p *Package) { p.Name = "" }, "no name"},
		"a path as a name": {func(p *Package) { p.Name = "../x" }, "no name"},
		"capitals":         {func(p *Package) { p.Name = "Example" }, "no name"},
		"no version":       {func(p *Package) { p.Version = "v1" }, "no version"},
		"a blank in it":    {func(p *Package) { p.Version = "1 2" }, "no version"},
		"no maintainer":    {func(p *Package) { p.Maintainer = "Zoë" }, "write Name <mail@example.org>"},
		"another field":    {func(p *Package) { p.Maintainer = "Zoë\nEssential: yes <z@x>" }, "cannot hold"},
		"in the text":      {func(p *Package) { p.Text = []string{"a\rb"} }, "cannot hold"},
		"no UTF-8":         {func(p *Package) { p.Synopsis = "\xff" }, "cannot hold"},
		"a relation":       {func(p *Package) { p.Relations[0].Value = "a\nb" }, "cannot hold"},
		"a script":         {func(p *Package) { p.Scripts["config"] = "" }, "no maintainer script"},
		"1969":             {func(p *Package) { p.Time = time.Unix(-1, 0) }, "no time"},
		"no time":          {func(p *Package) { p.Time = time.Time{} }, "no time"},
		"no files":         {func(p *Package) { p.Files = nil }, "without files"},
		"absolute":         {func(p *Package) { p.Files[0].Path = "/etc/x" }, "no path"},
		"upwards":          {func(p *Package) { p.Files[0].Path = "etc/../../x" }, "no path"},
		"a directory":      {func(p *Package) { p.Files[0].Path = "etc/x/" }, "no path"},
		"a line in it":     {func(p *Package) { p.Files[0].Path = "etc/x\ny" }, "no path"},
		"too long a path":  {func(p *Package) { p.Files[0].Path = strings.Repeat("a", 101) }, "no path"},
		"twice":            {func(p *Package) { p.Files[0].Path = "etc/example/a" }, "twice"},
		"a file below one": {func(p *Package) { p.Files[0].Path = "etc/example/a/b" }, "twice"},
		"too long":         {func(p *Package) { p.Files[0].Content = make([]byte, MaxFile+1) }, "longer than"},
	} {
		p := sample()
		c.change(p)
		if b, err := p.Bytes(); err == nil || !strings.Contains(err.Error(), c.words) || b != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAnyPackage: whatever is asked for is refused or is a package with its members where ar has them.
func TestAnyPackage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := sample()
		p.Name, p.Version, p.Synopsis = rapid.String().Draw(t, "name"), rapid.String().Draw(t, "version"), rapid.String().Draw(t, "synopsis")
		if rapid.Bool().Draw(t, "plain") {
			p.Name, p.Version, p.Synopsis = "example", "1", "x"
		}
		p.Files = append(p.Files, File{rapid.StringMatching(`[a-z./+]{1,20}`).Draw(t, "path"), rapid.SliceOf(rapid.Byte()).Draw(t, "content")})
		b, err := p.Bytes()
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, []byte("!<arch>\ndebian-binary   ")) || bytes.Count(b, []byte("control.tar.gz  "))*bytes.Count(b, []byte("data.tar.gz     ")) != 1 || len(b)%2 != 0 {
			t.Fatalf("%q", b[:72])
		}
	})
}
