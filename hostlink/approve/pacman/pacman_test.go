package pacman

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// member is one of an archive; a folder if its text is "/".
type member struct{ name, text string }

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.text))}
		switch m.text {
		case "/":
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		case "link":
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "/etc/passwd", 0
		}
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := w.Write([]byte(m.text))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func zipped(t testing.TB, path string, b []byte) {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(b)
	must(t, errors.Join(err, w.Close(), os.WriteFile(path, z.Bytes(), 0o644)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack makes a package in a folder, as far as repo-add looks into one.
func pack(t testing.TB, dir, name, version, more string) {
	t.Helper()
	info := fmt.Sprintf("pkgname = %s\npkgbase = %s\npkgver = %s\npkgdesc = says hello\nbuilddate = 1767225600\npackager = Test\nsize = 5\narch = any\nlicense = Apache\n%s", name, name, version, more)
	zipped(t, filepath.Join(dir, name+"-"+version+"-any.pkg.tar.gz"), archive(t, member{".PKGINFO", info}, member{"usr/", "/"}, member{"usr/" + name, "hello"}))
}

// host has repo-add make databases as a host does.
func host(t *testing.T, pool string) (db, files string) {
	t.Helper()
	db = filepath.Join(t.TempDir(), "core.db.tar.gz")
	found, err := packagesIn(pool)
	must(t, err)
	out, err := exec.Command("repo-add", append([]string{"--nocolor", "-q", db}, found...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v (run make setup): %s", err, out)
	}
	return db, strings.Replace(db, ".db.", ".files.", 1)
}

// An approver with the same packages finds the host's databases to be those of
// his packages; one with others is told what differs.
func TestCompare(t *testing.T) {
	pool := t.TempDir()
	pack(t, pool, "hello", "1-1", "depend = bash\n")
	pack(t, pool, "tool", "2-1", "")
	db, files := host(t, pool)
	for name, c := range map[string]struct {
		change func(own string)
		want   string // of the database; "" if it is the same
	}{
		"the same":                      {func(string) {}, ""},
		"an older version besides":      {func(own string) { pack(t, own, "hello", "0-1", "") }, ""},
		"another content":               {func(own string) { pack(t, own, "hello", "1-1", "depend = bash\n# other\n") }, "CSIZE of hello-1-1 is|SHA256SUM of hello-1-1 is"},
		"another dependency":            {func(own string) { pack(t, own, "hello", "1-1", "depend = zsh\n") }, "hello-1-1 is"},
		"a newer version":               {func(own string) { pack(t, own, "tool", "3-1", "") }, "it has tool-2-1, the newest of yours is tool-3-1"},
		"a package that the host hides": {func(own string) { pack(t, own, "more", "1-1", "") }, "it has no more-1-1, your packages have"},
		"a package that it adds":        {func(own string) { must(t, os.Remove(filepath.Join(own, "tool-2-1-any.pkg.tar.gz"))) }, "it has tool-2-1, your packages have not"},
	} {
		t.Run(name, func(t *testing.T) {
			own := t.TempDir()
			pack(t, own, "hello", "1-1", "depend = bash\n")
			pack(t, own, "tool", "2-1", "")
			c.change(own)
			o, err := Rebuild(t.Context(), own)
			must(t, err)
			defer func() { must(t, o.Close()) }()
			for _, path := range []string{db, files} {
				err := o.Compare(t.Context(), path)
				if c.want == "" && err != nil {
					t.Errorf("%s: %v", filepath.Base(path), err)
				}
				if c.want != "" && (!errors.Is(err, ErrDiffers) || !oneOf(err.Error(), c.want)) {
					t.Errorf("%s: %v, want %s", filepath.Base(path), err, c.want)
				}
			}
			if err := o.Compare(t.Context(), "core.iso"); err == nil || !strings.Contains(err.Error(), "is not called") {
				t.Error(err)
			}
		})
	}
}

func oneOf(s, choices string) bool {
	for c := range strings.SplitSeq(choices, "|") {
		if strings.Contains(s, c) {
			return true
		}
	}
	return false
}

func TestNothingToCompare(t *testing.T) {
	if _, err := Rebuild(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no package") {
		t.Error(err)
	}
	pool := t.TempDir()
	must(t, os.WriteFile(filepath.Join(pool, "x-1-1-any.pkg.tar.gz"), []byte("no archive"), 0o644))
	if _, err := Rebuild(t.Context(), pool); err == nil || !strings.Contains(err.Error(), "repo-add") {
		t.Errorf("a broken package: %v", err)
	}
}

const desc = "%NAME%\na\n\n%VERSION%\n1-1\n\n"

var hostile = map[string][]member{
	"a path out of it":         {{"../../etc/passwd", "x"}},
	"an absolute path":         {{"/etc/passwd", "x"}},
	"a link":                   {{"a-1-1/desc", "link"}},
	"a hidden folder":          {{".x/desc", desc}},
	"a deeper path":            {{"a-1-1/x/desc", desc}},
	"another member":           {{"a-1-1/install", "x"}},
	"another package's folder": {{"b-1-1/desc", desc}},
	"no name":                  {{"a-1-1/desc", "%VERSION%\n1-1\n"}},
	"two names":                {{"a-1-1/desc", "%NAME%\na\nb\n\n%VERSION%\n1-1\n"}},
	"a key twice":              {{"a-1-1/desc", desc + "%NAME%\na\n"}},
	"a member twice":           {{"a-1-1/desc", desc}, {"a-1-1/desc", desc}},
	"no key":                   {{"a-1-1/desc", "NAME\na\n"}},
	"a key without a name":     {{"a-1-1/desc", "%%\na\n"}},
	"keys behind a sum":        {{"a-1-1/desc", desc + "%MD5SUM%\n00\n%REPLACES%\nsudo\n"}},
	"keys behind a signature":  {{"a-1-1/desc", desc + "%PGPSIG%\niQEz\n%SHA256SUM%\n66\n"}},
	"a key for a sum":          {{"a-1-1/desc", desc + "%MD5SUM%\n%REPLACES%\n"}},
	"no sum":                   {{"a-1-1/desc", desc + "%MD5SUM%\n\n%ARCH%\nany\n"}},
}

func TestHostileDatabase(t *testing.T) {
	for name, members := range hostile {
		if d, err := read(bytes.NewReader(archive(t, members...))); err == nil {
			t.Errorf("%s: read as %v", name, d)
		}
	}
	if _, err := read(strings.NewReader("no archive, but as long as a header of one must be at the least" + strings.Repeat(".", 1000))); err == nil {
		t.Error("what is no archive was read")
	}
	path := filepath.Join(t.TempDir(), "core.db.tar.gz")
	zipped(t, path, archive(t, member{"a-1-1/desc", "link"}))
	if _, err := open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "repo-add does not write") {
		t.Error(err)
	}
	if _, err := open(t.Context(), path+"x"); err == nil {
		t.Error("a missing file was read")
	}
	good := archive(t, member{"a-1-1/", "/"}, member{"a-1-1/desc", desc})
	if d, err := read(bytes.NewReader(good)); err != nil || len(d) != 1 || d["a-1-1"]["VERSION"][0] != "1-1" {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := read(&bounded{bytes.NewReader(good), 600}); err == nil {
		t.Error("a bound was passed")
	}
}

// FuzzRead: no archive crashes; what is read names the packages of its folders.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, member{"a-1-1/", "/"}, member{"a-1-1/desc", desc}, member{"a-1-1/files", "%FILES%\nusr/\nusr/a\n"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if err := differ(d, d); err != nil {
			t.Fatalf("%v differs from itself: %v", d, err)
		}
		for folder, e := range d {
			if n := e["NAME"]; n != nil && len(e["VERSION"]) == 1 && n[0]+"-"+e["VERSION"][0] != folder && e["FILES"] == nil {
				t.Fatalf("%s holds %v", folder, e)
			}
		}
	})
}
