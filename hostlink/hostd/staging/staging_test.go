package staging

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inPlace makes the directory that a repository is published in.
func inPlace(t testing.TB, r *Repository) *Repository {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(r.Into), 0o755))
	return r
}

func put(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path+".tmp", []byte(content), 0o644))
	must(t, os.Rename(path+".tmp", path)) // as repo-add does
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func pacmanRepository(dir string) *Repository {
	return &Repository{
		Rule: "core", Dir: filepath.Join(dir, "staging"), Into: filepath.Join(dir, "www", "core"),
		Lock: filepath.Join(dir, "staging", "core.db.tar.gz.lck"),
		Sign: []Sign{{File: "core.*.tar.gz", Format: sigformat.OpenPGPBinary, Alg: message.SHA256}},
		Skip: []string{"*.old"},
	}
}

// stage is what repo-add leaves, at version v.
func stage(t testing.TB, r *Repository, v int) {
	put(t, filepath.Join(r.Dir, "core.db.tar.gz"), fmt.Sprint("db ", v))
	put(t, filepath.Join(r.Dir, "core.files.tar.gz"), fmt.Sprint("files ", v))
	put(t, filepath.Join(r.Dir, "core.db.tar.gz.old"), "backup")
	put(t, filepath.Join(r.Dir, fmt.Sprintf("pkg-%d.pkg.tar.zst", v)), "package")
	for _, name := range []string{"core.db", "core.files"} {
		if err := os.Symlink(name+".tar.gz", filepath.Join(r.Dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
}

func fakeSignature(it round.Item) (*Signature, error) {
	return &Signature{Signature: []byte(it.Digest), Proof: []byte("proof of " + it.Name)}, nil
}

func snapshot(t testing.TB, r *Repository, number uint64) []round.Item {
	t.Helper()
	items, look, err := r.Snapshot(number)
	must(t, err)
	now, err := r.Look()
	must(t, err)
	if look == "" || look != now {
		t.Errorf("the directory looks like %q, was %q", now, look)
	}
	return items
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	}))
	return out
}

// TestPublish: everything of a snapshot and nothing else is published, with
// signatures and links to them, though the staging directory has moved on.
func TestPublish(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	must(t, os.Chmod(r.Dir, 0o755))
	must(t, os.Chmod(filepath.Join(r.Dir, "core.db.tar.gz"), 0o640))
	items := snapshot(t, r, 1)
	if len(items) != 2 || items[0].Name != "core.db.tar.gz" || items[0].Size != 4 || items[0].Format != "openpgp-binary" {
		t.Fatalf("%+v", items)
	}
	if _, _, err := StateOf(items[0]); err != nil {
		t.Fatal(err)
	}
	stage(t, r, 2)
	must(t, r.Publish(1, items, fakeSignature))
	want := []string{".touchmark", "core.db", "core.db.sig", "core.db.tar.gz", "core.db.tar.gz.sig", "core.db.tar.gz.tmproof", "core.files", "core.files.sig",
		"core.files.tar.gz", "core.files.tar.gz.sig", "core.files.tar.gz.tmproof", "pkg-1.pkg.tar.zst"}
	if got := names(t, r.Into); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if content(t, filepath.Join(r.Into, "core.db")) != "db 1" || content(t, filepath.Join(r.Into, "core.db.sig")) != items[0].Digest {
		t.Error("the links lead elsewhere")
	}
	for path, want := range map[string]fs.FileMode{r.base(): 0o700, r.Into: 0o755, filepath.Join(r.Into, "core.db.tar.gz"): 0o640, filepath.Join(r.Into, "core.db.tar.gz.sig"): 0o644} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, st.Mode(), err, want)
		}
	}
	next := snapshot(t, r, 2)
	must(t, r.Publish(2, next, fakeSignature))
	must(t, r.Publish(2, next, fakeSignature)) // again, as after a crash
	if at, err := r.Published(); at != 2 || err != nil {
		t.Errorf("%d, %v", at, err)
	}
	if content(t, filepath.Join(r.old(), "core.db")) != "db 1" {
		t.Error("what was published before is gone")
	}
	must(t, r.Keep([]uint64{2}))
	if got, err := os.ReadDir(r.base()); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOwnCopy: what is written into a staged file afterwards does not reach the
// snapshot, and times are kept for clients that ask for what is newer.
func TestOwnCopy(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	db := filepath.Join(r.Dir, "core.db.tar.gz")
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, os.Chtimes(db, then, then))
	items := snapshot(t, r, 1)
	must(t, os.WriteFile(db, []byte("evil"), 0o644))
	must(t, r.Publish(1, items, fakeSignature))
	if got := content(t, filepath.Join(r.Into, "core.db.tar.gz")); got != "db 1" {
		t.Errorf("published %q", got)
	}
	st, err := os.Stat(filepath.Join(r.Into, "core.db.tar.gz"))
	must(t, err)
	if !st.ModTime().Equal(then) {
		t.Errorf("time %v", st.ModTime())
	}
}

// realSignature signs as an appliance does.
func realSignature(t *testing.T, items []round.Item) func(round.Item) (*Signature, error) {
	note := logtest.Must(message.SignNote([]byte("not looked at here\n")))
	a := message.Approval{Origin: logtest.Origin, Class: "test", NotAfter: logtest.Noon.Add(time.Hour)}
	var states []hashstate.State
	for _, it := range items {
		digest, state, err := StateOf(it)
		must(t, err)
		a.Items, states = append(a.Items, message.Item{Format: it.Format, Digest: digest, Size: it.Size, Name: it.Name}), append(states, state)
	}
	_, signed := logtest.New(note).Intent(logtest.Must(message.SignNote(a.Marshal())), note, states)
	return func(it round.Item) (*Signature, error) {
		return &Signature{Signature: signed[slices.Index(formats(items), it.Format)].Signature, Proof: []byte("proof")}, nil
	}
}

func formats(items []round.Item) (out []string) {
	for _, it := range items {
		out = append(out, it.Format)
	}
	return out
}

// TestApt: one file in two formats under names of its own, in a tree.
func TestApt(t *testing.T) {
	dir := disktest.QuickDir(t)
	clear, _ := sigformat.FormatOf("openpgp-cleartext")
	r := &Repository{Rule: "apt", Dir: filepath.Join(dir, "dists", "stable"), Into: filepath.Join(dir, "www", "stable"), Sign: []Sign{
		{File: "Release", Format: clear, Alg: message.SHA256, As: "InRelease"},
		{File: "Release", Format: sigformat.OpenPGPBinary, Alg: message.SHA256, Armor: true, As: "Release.gpg"},
	}}
	inPlace(t, r)
	put(t, filepath.Join(r.Dir, "Release"), "Suite: stable\n")
	put(t, filepath.Join(r.Dir, "InRelease"), "an old one")
	put(t, filepath.Join(r.Dir, "main", "binary-amd64", "Packages"), "Package: hello\n")
	items := snapshot(t, r, 7)
	must(t, r.Publish(7, items, realSignature(t, items)))
	want := []string{".touchmark", "InRelease", "InRelease.tmproof", "Release", "Release.gpg", "Release.gpg.tmproof", "main/binary-amd64/Packages"}
	if got := names(t, r.Into); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if text := content(t, filepath.Join(r.Into, "InRelease")); !strings.HasPrefix(text, "-----BEGIN PGP SIGNED MESSAGE") || !strings.Contains(text, "Suite: stable") {
		t.Errorf("%q", text)
	}
	if text := content(t, filepath.Join(r.Into, "Release.gpg")); !strings.HasPrefix(text, "-----BEGIN PGP SIGNATURE") {
		t.Errorf("%q", text)
	}
}

// TestLock: neither do we look while a repository tool works, nor it while we
// do; what a killed daemon left is known again, and nobody else's is touched.
func TestLock(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	must(t, os.WriteFile(r.Lock, []byte("4711\n"), 0o644))
	if _, _, err := r.Snapshot(1); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	must(t, r.Unlock())
	if content(t, r.Lock) != "4711\n" {
		t.Error("a tool's lock was removed")
	}
	must(t, os.Remove(r.Lock))
	release, err := r.lock()
	must(t, err)
	if !strings.HasPrefix(content(t, r.Lock), fmt.Sprint(os.Getpid(), " ")) {
		t.Error("the lock does not say whose it is")
	}
	if _, err := r.lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	must(t, release())
	put(t, r.Lock, r.lockText()) // one that could not be removed
	if _, err = r.lock(); err != nil {
		t.Fatal(err)
	}
	must(t, r.Unlock()) // as the next daemon does
	snapshot(t, r, 1)
	if _, err := os.Lstat(r.Lock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock stays: %v", err)
	}
}

// TestRefused: what is never published.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, r *Repository)
		want  string
	}{
		"a directory of somebody else's": {func(t *testing.T, r *Repository) { put(t, filepath.Join(r.Into, "index.html"), "x") }, "was not made by touchmark-hostd"},
		"another rule's": {func(t *testing.T, r *Repository) {
			put(t, filepath.Join(r.Into, marker), string((&Repository{Rule: "extra"}).markerText(3)))
		}, "two rules cannot share"},
		"a damaged marker": {func(t *testing.T, r *Repository) { put(t, filepath.Join(r.Into, marker), "x") }, marker},
		"a changed file":   {func(t *testing.T, r *Repository) { put(t, filepath.Join(r.generation(1), "core.db.tar.gz"), "evil") }, "not what was signed"},
		"a missing file": {func(t *testing.T, r *Repository) {
			must(t, os.Remove(filepath.Join(r.generation(1), "core.files.tar.gz")))
		}, "damaged or gone"},
		"a missing picture": {func(t *testing.T, r *Repository) { must(t, os.RemoveAll(r.generation(1))) }, "damaged or gone"},
	} {
		t.Run(name, func(t *testing.T) {
			r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
			stage(t, r, 1)
			items := snapshot(t, r, 1)
			tc.spoil(t, r)
			if err := r.Publish(1, items, fakeSignature); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
			if _, err := os.Lstat(filepath.Join(r.Into, "core.db")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("published: %v", err)
			}
		})
	}
}

// TestUnfitStaging: what cannot be taken is said.
func TestUnfitStaging(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(t *testing.T, r *Repository)
		want string
	}{
		"nothing":        {func(t *testing.T, r *Repository) { must(t, os.MkdirAll(r.Dir, 0o755)) }, "no file that the rule signs"},
		"a bad name":     {func(t *testing.T, r *Repository) { put(t, filepath.Join(r.Dir, "core.a b.tar.gz"), "x") }, "rename the file"},
		"a socket":       {func(t *testing.T, r *Repository) { stage(t, r, 1); socketAt(t, filepath.Join(r.Dir, "s")) }, "neither file, directory nor"},
		"no directory":   {func(*testing.T, *Repository) {}, "no such file"},
		"nowhere to go":  {func(t *testing.T, r *Repository) { stage(t, r, 1); must(t, os.Remove(filepath.Dir(r.Into))) }, "must be there"},
		"signed as text": {func(t *testing.T, r *Repository) { put(t, filepath.Join(r.Dir, "Release"), "a\x00b\x80") }, "Release"},
	} {
		t.Run(name, func(t *testing.T) {
			r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
			clear, _ := sigformat.FormatOf("openpgp-cleartext")
			r.Sign, r.Lock = append(r.Sign, Sign{File: "Rel*", Format: clear, Alg: message.SHA256}), ""
			tc.make(t, r)
			if _, _, err := r.Snapshot(1); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(r.base()); err == nil && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestUnwritable: a hint is one for what is wrong, which systemd's ProtectSystem= shows as a file system that nobody may write to.
func TestUnwritable(t *testing.T) {
	for cause, want := range map[error]string{
		unix.EROFS: "ReadWritePaths=", unix.EACCES: "this user's to write in", unix.ENOENT: "must be there", unix.ENOSPC: "no space left on device",
	} {
		err := unwritable(&fs.PathError{Op: "mkdir", Path: "/srv/x", Err: cause}, "the directory")
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "must be there") != (cause == unix.ENOENT || cause == unix.EACCES) {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

// TestLookSeesChanges: a new file, a replaced one and a changed one look different.
func TestLookSeesChanges(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	seen := map[string]bool{}
	for i, change := range []func(){
		func() {},
		func() { put(t, filepath.Join(r.Dir, "core.db.tar.gz"), "db 1") },
		func() { must(t, os.WriteFile(filepath.Join(r.Dir, "core.db.tar.gz"), []byte("longer"), 0o644)) },
		func() { put(t, filepath.Join(r.Dir, "core.links.tar.gz"), "x") },
		func() { must(t, os.Remove(filepath.Join(r.Dir, "core.links.tar.gz"))); stage(t, r, 2) },
	} {
		change()
		look, err := r.Look()
		must(t, err)
		if seen[look] || look == "" {
			t.Errorf("change %d is not seen", i)
		}
		seen[look] = true
		put(t, filepath.Join(r.Dir, "readme"), "not signed")
		if again, err := r.Look(); err != nil || again != look {
			t.Errorf("change %d: %q, %v; was %q", i, again, err, look)
		}
	}
}

// TestMarker: the text that says which snapshot a directory is, as docs/rounds.md has it.
func TestMarker(t *testing.T) {
	if got := (&Repository{Rule: "core"}).markerText(12); !bytes.Equal(got, []byte("touchmark/snapshot/v1\nrule core\nnumber 12\n")) {
		t.Errorf("%q", got)
	}
}

// TestLinkedDirectory: a staging directory that is named by a symbolic link is the one that it leads to; a published one
// is never put in the place of a link.
func TestLinkedDirectory(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	real := filepath.Join(filepath.Dir(r.Dir), "elsewhere")
	must(t, os.Mkdir(real, 0o755))
	must(t, os.Symlink(real, r.Dir))
	stage(t, r, 1)
	staged := names(t, real)
	items := snapshot(t, r, 1)
	must(t, r.Publish(1, items, fakeSignature))
	if got := names(t, real); !slices.Equal(got, staged) {
		t.Errorf("staged %v, now %v", staged, got)
	}
	if st, err := os.Lstat(r.Into); err != nil || !st.IsDir() {
		t.Fatalf("published as %v, %v", st, err)
	}
	must(t, os.Rename(r.Into, r.Into+".moved"))
	must(t, os.Symlink(r.Into+".moved", r.Into))
	if _, _, err := r.Snapshot(2); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("%v", err)
	}
}

// TestMovedWhileTaken: what changes while a snapshot is taken, by a tool that does not lock, is not taken.
func TestMovedWhileTaken(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	stage(t, r, 1)
	r.Lock = ""
	r.step = func(step string) {
		if step == "linked" {
			stage(t, r, 2)
		}
	}
	if _, _, err := r.Snapshot(1); !errors.Is(err, ErrMoved) {
		t.Errorf("%v", err)
	}
	r.step = nil
	put(t, filepath.Join(r.Dir, "core.db.tar.gz.sig", "x"), "a directory where a signature goes")
	snapshot(t, r, 1)
}

// TestPartOfAPair: while one of the files that a rule names is not there, nothing is taken.
func TestPartOfAPair(t *testing.T) {
	r := inPlace(t, pacmanRepository(disktest.QuickDir(t)))
	r.Sign = []Sign{{File: "core.db.tar.gz", Format: sigformat.OpenPGPBinary, Alg: message.SHA256}, {File: "core.files.tar.gz", Format: sigformat.OpenPGPBinary, Alg: message.SHA256}}
	must(t, os.Mkdir(r.Dir, 0o755))
	if look, err := r.Look(); look != "" || err != nil {
		t.Errorf("%q, %v", look, err)
	}
	stage(t, r, 1)
	files := filepath.Join(r.Dir, "core.files.tar.gz")
	must(t, os.Rename(files, files+".old"))
	if _, err := r.Look(); !errors.Is(err, ErrPartial) || !Passes(err) {
		t.Errorf("%v", err)
	}
	if _, _, err := r.Snapshot(1); !errors.Is(err, ErrPartial) || !strings.Contains(err.Error(), "core.files.tar.gz") {
		t.Errorf("%v", err)
	}
	must(t, os.Rename(files+".old", files))
	if items := snapshot(t, r, 1); len(items) != 2 {
		t.Errorf("%+v", items)
	}
}

// TestElsewhere: a staging directory on another file system, where the machine has two, is copied: nothing of it is
// linked, and all of it is as it was.
func TestElsewhere(t *testing.T) {
	r := pacmanRepository(t.TempDir())
	r.Into = filepath.Join(disktest.QuickDir(t), "core")
	stage(t, r, 1)
	pkg := filepath.Join(r.Dir, "sub dir", "a\nb.pkg")
	put(t, pkg, "package")
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, errors.Join(os.Chmod(pkg, 0o604), os.Chtimes(pkg, then, then)))
	must(t, r.Publish(1, snapshot(t, r, 1), fakeSignature))
	out := filepath.Join(r.Into, "sub dir", "a\nb.pkg")
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o604 || !st.ModTime().Equal(then) || content(t, out) != "package" {
		t.Errorf("%v, %v", st, err)
	}
}
