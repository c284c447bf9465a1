package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// TestGoodPath signs with every combination of key and hash that the foundation promises, small and large, one file and a
// batch, and lets gpg, sqv and our own verifier judge.
func TestGoodPath(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"p256", "rsa2048"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			r := up(t, world.Config{Algorithm: algorithm})
			one, two := r.file("one.bin", 1), r.file("two.iso", 3<<20+17)
			r.sign(nil, one)
			r.sign([]string{"--hash", "sha512"}, two)
			three, four := r.file("three", 64), r.file("four", 128)
			r.sign([]string{"--hash", "sha512"}, three, four)
			r.sign(nil, r.file("again", 0x10000))
			r.consumers(one, two, three, four)
			r.clean()
		})
	}
}

// TestKeyTypesAndFormats enrols the other key types and signs in every format, binary and armored; gpg and sqv judge.
func TestKeyTypesAndFormats(t *testing.T) {
	t.Parallel()
	for algorithm, hash := range map[string]string{"p384": "sha384", "ed25519": "sha256", "rsa3072": "sha512", "rsa4096": "sha384"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			r := up(t, world.Config{Algorithm: algorithm, Profile: "5.7.1"})
			binary := r.file("one.bin", 1000)
			r.sign([]string{"--hash", hash}, binary)
			r.consumers(binary)
			text := r.text("notes", "a line \n-and another\r\n\n")
			r.sign([]string{"--hash", hash, "--format", "openpgp-text", "--armor"}, text)
			release := r.text("Release", "Suite: stable \n- a dash\nno end")
			r.sign([]string{"--hash", hash, "--format", "openpgp-cleartext"}, release)
			gpg := r.gpg()
			r.must(gpg.Verify(r.ctx, text+".asc", text))
			r.must(gpg.VerifyText(r.ctx, release+".asc"))
			r.clean()
		})
	}
}

// TestShortHash: a P-384 key does not sign over SHA-256, which gpg would refuse, and works on.
func TestShortHash(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Algorithm: "p384"})
	f := r.file("f", 10)
	r.ask([]string{"--hash", "sha256"}, f).end(api.Refused)
	r.sign([]string{"--hash", "sha512"}, f)
	r.consumers(f)
	r.clean()
}

// TestOldFirmware runs the good path on the older firmware profile.
func TestOldFirmware(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Algorithm: "rsa2048", Profile: "5.4.3"})
	f := r.file("f", 5000)
	r.sign(nil, f)
	r.consumers(f)
	r.clean()
}

// TestPacmanRepository is the main job: a package, repo-add, both databases in one batch, and pacman as the judge.
func TestPacmanRepository(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Algorithm: "rsa2048"})
	r.must(consumers.Installed())
	repo := filepath.Join(r.work, "repo")
	r.must(os.Mkdir(repo, 0o755))
	pkg, err := consumers.Package{Name: "hello", Version: "2.0", Log: t.Output()}.Build(r.ctx, repo)
	r.must(err)
	r.sign(nil, pkg)
	archives, err := consumers.RepoAdd(r.ctx, t.Output(), filepath.Join(repo, "demo.db.tar.gz"), pkg)
	r.must(err)
	r.sign(nil, archives[:]...)
	r.must(consumers.LinkSignatures(archives))
	gpg, err := consumers.NewGPG(r.ctx, t.Output(), filepath.Join(r.work, "gnupg"), filepath.Join(r.Trust, "cert.asc"))
	r.must(err)
	pac, err := consumers.NewPacman(t.Output(), filepath.Join(r.work, "client"), gpg, "demo", repo)
	r.must(err)
	r.must(pac.Sync(r.ctx))
	r.must(pac.Download(r.ctx, "hello"))
}

// TestVerifyOffline takes everything that runs away and still verifies; then each part is changed and must be refused.
func TestVerifyOffline(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	f := r.file("f", 1000)
	r.sign(nil, f)
	r.must(r.Close())
	r.verified(f)
	for _, suffix := range []string{"", ".sig", ".tmproof"} {
		b, err := os.ReadFile(f + suffix)
		r.must(err)
		for _, at := range []int{0, len(b) / 2, len(b) - 1} {
			changed := append([]byte{}, b...)
			changed[at] ^= 1
			r.must(os.WriteFile(f+suffix, changed, 0o644))
			r.client(api.Evidence, "verify", f)
		}
		r.must(os.WriteFile(f+suffix, b, 0o644))
	}
	r.verified(f)
}
