package debian

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pack makes a package of one file with dpkg-deb.
func pack(t *testing.T, dir, name, content string) Package {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"DEBIAN/control": "Package: " + name + "\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: test\n",
		"usr/file":       content,
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := Package{Name: name, Version: "1:2.0-1", Arch: "all"}
	path := filepath.Join(dir, p.File())
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", root, path).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v %s(run make setup)", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.SHA256 = fmt.Sprintf("%x", sha256.Sum256(b))
	return p
}

// archive makes a repository that apt takes packages from.
func archive(t *testing.T) (mirror string, p Package) {
	t.Helper()
	dir := t.TempDir()
	p = pack(t, dir, "thing", "content\n")
	cmd := exec.Command("dpkg-scanpackages", "-m", ".")
	cmd.Dir = dir
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("dpkg-scanpackages: %v (run make setup)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), list, 0o644); err != nil {
		t.Fatal(err)
	}
	return "deb [trusted=yes] copy:" + dir + " ./", p
}

func TestFetch(t *testing.T) {
	mirror, p := archive(t)
	dir := t.TempDir()
	var log bytes.Buffer
	paths, err := Fetch(t.Context(), dir, Sources{Mirrors: []string{mirror}}, &log, p)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if len(paths) != 1 || paths[0] != filepath.Join(dir, "thing_1%3a2.0-1_all.deb") {
		t.Fatal(paths)
	}
	if b, err := Extract(t.Context(), paths[0], "/usr/file"); err != nil || string(b) != "content\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Extract(t.Context(), paths[0], "/usr/other"); err == nil {
		t.Error("a file that is not there was extracted")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	// What is there is not fetched again.
	if _, err := Fetch(t.Context(), dir, Sources{Mirrors: []string{"deb copy:/nowhere ./"}}, io.Discard, p); err != nil {
		t.Error(err)
	}
	// What is there and is not right is not used.
	if err := os.WriteFile(paths[0], []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), dir, Sources{Mirrors: []string{mirror}}, io.Discard, p); err == nil || !strings.Contains(err.Error(), "pinned is "+p.SHA256) {
		t.Error(err)
	}
}

func TestFetchRefuses(t *testing.T) {
	mirror, p := archive(t)
	other := p
	other.SHA256 = strings.Repeat("0", 64)
	if _, err := Fetch(t.Context(), t.TempDir(), Sources{Mirrors: []string{mirror}}, io.Discard, other); err == nil || !strings.Contains(err.Error(), "pinned is 000") {
		t.Errorf("another hash: %v", err)
	}
	gone := p
	gone.Version = "1:1.0-1"
	if _, err := Fetch(t.Context(), t.TempDir(), Sources{Mirrors: []string{mirror}}, io.Discard, gone); err == nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := Fetch(t.Context(), t.TempDir(), Sources{Mirrors: []string{"deb copy:" + t.TempDir() + " ./"}}, io.Discard, p); err == nil {
		t.Error("fetched from a mirror that is none")
	}
}

// TestArchive: what the mirrors no longer have, or mirrors that do not answer, comes from the archive of old versions by
// its SHA-1, and counts only with its SHA-256.
func TestArchive(t *testing.T) {
	mirror, p := archive(t)
	content, err := os.ReadFile(filepath.Join(strings.TrimSuffix(strings.TrimPrefix(mirror, "deb [trusted=yes] copy:"), " ./"), p.File()))
	if err != nil {
		t.Fatal(err)
	}
	p.Version, p.SHA1 = "1:1.9-1", fmt.Sprintf("%x", sha1.Sum(content)) // a version that the mirror does not have
	keeps, asked := content, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/file/"+p.SHA1 {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(keeps)
	}))
	defer server.Close()
	from := Sources{Mirrors: []string{mirror}, Snapshot: server.URL + "/file/"}
	for _, mirrors := range [][]string{{mirror}, {"deb copy:" + t.TempDir() + " ./"}} {
		dir := t.TempDir()
		from.Mirrors = mirrors
		var log bytes.Buffer
		paths, err := Fetch(t.Context(), dir, from, &log, p)
		if err != nil || !strings.Contains(log.String(), "the mirrors do not have thing 1:1.9-1") {
			t.Fatalf("%v: %s", err, log.String())
		}
		if got, err := os.ReadFile(paths[0]); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v: another file than the archive has", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	if asked != 2 {
		t.Errorf("the archive was asked %d times", asked)
	}
	refused := func(name, want string, p Package, from Sources) {
		t.Helper()
		dir := t.TempDir()
		if _, err := Fetch(t.Context(), dir, from, io.Discard, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left behind: %v %v", name, left, err)
		}
	}
	keeps = []byte("other")
	refused("another file", "pinned is "+p.SHA256, p, from)
	byHand := "put thing_1%3a1.9-1_all.deb with SHA-256 " + p.SHA256 + " into "
	unknown := p
	unknown.SHA1 = strings.Repeat("0", 40)
	refused("unknown to the archive", "404 Not Found: Debian's mirrors keep a version until the next one; "+byHand, unknown, from)
	server.Close()
	refused("no archive that answers", byHand, p, from)
	from.Snapshot = ""
	refused("no archive", byHand, p, from)
	// What the mirrors do have is not asked of the archive, and their wrong file is an error.
	p.Version, p.SHA256 = "1:2.0-1", strings.Repeat("0", 64)
	refused("the mirrors' other file", "pinned is 000", p, Sources{Mirrors: []string{mirror}, Snapshot: "http://127.0.0.1:1/"})
}

func TestInstalled(t *testing.T) {
	if v, err := Installed(t.Context(), "dpkg"); err != nil || v == "" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := Installed(t.Context(), "there-is-no-such-package"); err == nil || !strings.Contains(err.Error(), "make image") {
		t.Error(err)
	}
}
