//go:build imagetest

package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"touchmark/tests/consumers"
)

// takenHome: on the stick is all that the ceremony was to give administrators and auditors, and it opens to them.
func (r *rig) takenHome() {
	r.t.Helper()
	raw, err := os.ReadFile(r.Identity())
	r.must(err)
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(raw)))
	r.must(err)
	home := r.path("home")
	r.must(os.Mkdir(home, 0o700))
	r.run("mcopy", "-s", "-i", r.path("stick"), "::admin", "::revocation", "::trust", "::ceremony.txt", home)
	for pattern, n := range map[string]int{"admin/management-*.age": 1, "admin/hierarchy-*.age": 3, "revocation/revocation-*.age": 1, "trust/log.key.age": 1} {
		files, err := filepath.Glob(filepath.Join(home, pattern))
		r.must(err)
		if len(files) != n {
			r.t.Errorf("%d of %s on the stick", len(files), pattern)
		}
		for _, path := range files {
			f, err := os.Open(path)
			r.must(err)
			_, err = age.Decrypt(f, id)
			r.must(errors.Join(err, f.Close()))
		}
	}
	told, err := os.ReadFile(filepath.Join(home, "ceremony.txt"))
	r.must(err)
	if !strings.Contains(string(told), strings.Repeat("5a", 32)) {
		r.t.Error("the transcript lacks the auditor's digits")
	}
}

// TestSigns is the main job on the image: enrolment from a stick, a package and its databases signed over USB, pacman as the
// judge; then the power goes, and the board comes up again by itself, signs, and the auditor knows what was booted each time.
func TestSigns(t *testing.T) {
	r := up(t)
	r.takenHome()
	r.must(consumers.Installed())
	repo := r.path("repo")
	r.must(os.Mkdir(repo, 0o755))
	pkg, err := consumers.Package{Name: "hello", Version: "2.0", Log: t.Output()}.Build(r.ctx, repo)
	r.must(err)
	r.sign(pkg)
	archives, err := consumers.RepoAdd(r.ctx, t.Output(), filepath.Join(repo, "demo.db.tar.gz"), pkg)
	r.must(err)
	r.sign(archives[:]...)
	r.must(consumers.LinkSignatures(archives))
	gpg, err := consumers.NewGPG(r.ctx, t.Output(), r.path("gnupg"), filepath.Join(r.Trust, "cert.asc"))
	r.must(err)
	pac, err := consumers.NewPacman(t.Output(), r.path("client"), gpg, "demo", repo)
	r.must(err)
	r.must(pac.Sync(r.ctx))
	r.must(pac.Download(r.ctx, "hello"))
	r.clean()

	r.cut()
	r.boot()
	r.must(r.Unlock(r.ctx, 0, "123456"))
	again := r.path("again")
	r.must(os.WriteFile(again, []byte("after the power came back"), 0o600))
	r.sign(again)
	r.clean()
}
