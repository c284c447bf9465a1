//go:build imagetest

package image

import (
	"os"
	"path/filepath"
	"testing"

	"touchmark/tests/consumers"
)

// TestSigns is the main job on the image: enrolment from a stick, a package and its databases signed over USB, pacman as the
// judge; then the power goes, and the board comes up again by itself, signs, and the auditor knows what was booted each time.
func TestSigns(t *testing.T) {
	r := up(t)
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
