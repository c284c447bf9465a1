// Package deb writes Debian binary packages of a few small files, for every
// architecture, without dpkg.
//
// # Format
//
// deb(5), version 2.0: an ar archive of debian-binary, control.tar.gz and
// data.tar.gz. Everything in it belongs to root; files have mode 0644, directories
// and maintainer scripts 0755. Files below etc are conffiles: an administrator's
// changes outlive upgrades, and a removal that is no purge keeps them.
//
// # Guarantees
//
// The same package gives the same bytes, today and with every later version of
// Go: what is inside is not compressed (gzip's stored blocks). What dpkg would
// refuse or read in another way is an error here. The package is pure.
package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Package is what a package is made of.
type Package struct {
	Name       string
	Version    string
	Maintainer string  // "Name <mail>"
	Relations  []Field // such as {"Depends", "gnupg"}, in this order
	Section    string
	Synopsis   string            // one line
	Text       []string          // lines of the description, "" between paragraphs
	Files      []File            // in any order
	Scripts    map[string]string // such as postrm: its text
	Time       time.Time         // of everything in it
}

// Field is a line of the control file.
type Field struct{ Name, Value string }

// File is a file that the package installs.
type File struct {
	Path    string // such as etc/apt/apt.conf.d/x
	Content []byte
}

// What dpkg takes (deb-control(5), deb-version(5)), a little narrower: no epoch,
// no tilde, so that nothing needs quoting in names of files and in addresses.
var (
	nameForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,99}$`) })
	versionForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9][A-Za-z0-9.+-]{0,63}$`) })
	pathForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+/-]{0,99}$`) })
)

// scripts are those that dpkg runs.
var scripts = []string{"postinst", "postrm", "preinst", "prerm"}

// FileName is how repositories call the package.
func (p *Package) FileName() string { return fmt.Sprintf("%s_%s_all.deb", p.Name, p.Version) }

// check finds what dpkg would refuse, or what would say something else in the
// control file.
func (p *Package) check() error {
	switch {
	case !nameForm().MatchString(p.Name):
		return fmt.Errorf("%q is no name for a Debian package: use a-z 0-9 + . -", p.Name)
	case !versionForm().MatchString(p.Version):
		return fmt.Errorf("%q is no version of a Debian package: begin with a digit, use A-Z a-z 0-9 . + -", p.Version)
	case !strings.Contains(p.Maintainer, "<") || !strings.HasSuffix(p.Maintainer, ">"):
		return fmt.Errorf("%q is no maintainer: write Name <mail@example.org>", p.Maintainer)
	case p.Time.Unix() < 0 || p.Time.Unix() > maxTime:
		return fmt.Errorf("%s is no time for files in a package", p.Time)
	}
	for _, line := range slices.Concat([]string{p.Maintainer, p.Section, p.Synopsis}, p.Text, fieldValues(p.Relations)) {
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q has a character that a control file cannot hold", line)
		}
	}
	for name := range p.Scripts {
		if !slices.Contains(scripts, name) {
			return fmt.Errorf("dpkg has no maintainer script %q", name)
		}
	}
	return p.checkFiles()
}

func fieldValues(fields []Field) (all []string) {
	for _, f := range fields {
		all = append(all, f.Name, f.Value)
	}
	return all
}

// checkFiles wants each path once, plain, and none below another file.
func (p *Package) checkFiles() error {
	if len(p.Files) == 0 {
		return errors.New("a package without files")
	}
	dirs := directories(p.Files)
	for i, f := range p.Files {
		switch {
		case !pathForm().MatchString(f.Path) || path.Clean(f.Path) != f.Path:
			return fmt.Errorf("%q is no path in a package", f.Path)
		case slices.Contains(dirs, f.Path) || slices.ContainsFunc(p.Files[:i], func(o File) bool { return o.Path == f.Path }):
			return fmt.Errorf("%s is twice in the package", f.Path)
		case len(f.Content) > MaxFile:
			return fmt.Errorf("%s is longer than %d bytes", f.Path, MaxFile)
		}
	}
	return nil
}

// directories are those above the files, the upper ones first.
func directories(files []File) (dirs []string) {
	for _, f := range files {
		for d := path.Dir(f.Path); d != "." && d != "/"; d = path.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Bytes is the package's file.
func (p *Package) Bytes() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	files := slices.SortedFunc(slices.Values(p.Files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	data := archive{time: p.Time}
	for _, d := range append([]string{""}, directories(files)...) {
		data.add(tar.Header{Typeflag: tar.TypeDir, Name: "./" + d, Mode: 0o755}, nil)
	}
	for _, f := range files {
		data.add(tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.Path, Mode: 0o644}, f.Content)
	}
	members := []member{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", p.control(files)}, {"data.tar.gz", data.bytes()}}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, p.Time.Unix(), 0, 0, "100644", len(m.content))
		b.Write(m.content)
		if len(m.content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

// member is one of the ar archive.
type member struct {
	name    string
	content []byte
}

// control is the archive of what dpkg keeps of the package.
func (p *Package) control(files []File) []byte {
	var sums, conffiles strings.Builder
	for _, f := range files {
		if strings.HasPrefix(f.Path, "etc/") {
			fmt.Fprintf(&conffiles, "/%s\n", f.Path)
			continue
		}
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.Content), f.Path) // against damage, as dpkg --verify wants it
	}
	c := archive{time: p.Time}
	c.add(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}, nil)
	for _, f := range []struct{ name, text string }{{"conffiles", conffiles.String()}, {"control", p.fields(files)}, {"md5sums", sums.String()}} {
		if f.text != "" {
			c.add(tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.name, Mode: 0o644}, []byte(f.text))
		}
	}
	for _, name := range scripts {
		if text, ok := p.Scripts[name]; ok {
			c.add(tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o755}, []byte(text))
		}
	}
	return c.bytes()
}

// fields is the control file (deb-control(5)).
func (p *Package) fields(files []File) string {
	size := 0
	for _, f := range files {
		size += (len(f.Content) + 1023) / 1024
	}
	var b strings.Builder
	all := []Field{{"Package", p.Name}, {"Version", p.Version}, {"Architecture", "all"}, {"Maintainer", p.Maintainer}, {"Installed-Size", fmt.Sprint(size)}}
	for _, f := range append(append(all, p.Relations...), Field{"Section", p.Section}, Field{"Priority", "optional"}, Field{"Description", p.Synopsis}) {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	for _, line := range p.Text {
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

// archive is a tar in gzip. Writing to memory does not fail, and headers are plain.
type archive struct {
	time time.Time
	b    bytes.Buffer
	w    *tar.Writer
}

func (a *archive) add(h tar.Header, content []byte) {
	if a.w == nil {
		a.w = tar.NewWriter(&a.b)
	}
	h.Size, h.ModTime, h.Uname, h.Gname, h.Format = int64(len(content)), a.time.UTC().Truncate(time.Second), "root", "root", tar.FormatUSTAR
	if h.Typeflag == tar.TypeDir && !strings.HasSuffix(h.Name, "/") {
		h.Name += "/"
	}
	if err := a.w.WriteHeader(&h); err != nil {
		panic("deb: a header that was checked does not fit: " + err.Error())
	}
	if _, err := a.w.Write(content); err != nil {
		panic("deb: " + err.Error())
	}
}

func (a *archive) bytes() []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err == nil {
		err = a.w.Close()
	}
	if err == nil {
		_, err = z.Write(a.b.Bytes())
	}
	if err = errors.Join(err, z.Close()); err != nil {
		panic("deb: " + err.Error())
	}
	return b.Bytes()
}
