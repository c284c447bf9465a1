package consumers

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// softKey is a throw-away software key that stands in for the appliance: this test is about the consumers.
type softKey struct {
	entity *openpgp.Entity
	cert   string
}

func newSoftKey(t *testing.T) *softKey {
	t.Helper()
	cfg := &packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256, DefaultHash: crypto.SHA256, Rand: rand.Reader}
	e, err := openpgp.NewEntity("Throw-away", "", "test@touchmark.example", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var cert bytes.Buffer
	if err := e.Serialize(&cert); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cert.pgp")
	if err := os.WriteFile(path, cert.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return &softKey{entity: e, cert: path}
}

func (k *softKey) sign(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var sig bytes.Buffer
		if err := openpgp.DetachSign(&sig, k.entity, bytes.NewReader(data), nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p+".sig", sig.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConsumersAcceptAndRefuse builds a package, signs it and its databases, and lets each program judge: first the true
// thing, then one changed byte.
func TestConsumersAcceptAndRefuse(t *testing.T) {
	if err := Installed(); err != nil {
		t.Fatal(err)
	}
	ctx, log := context.Background(), t.Output()
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	if err := os.Mkdir(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	key := newSoftKey(t)

	pkg, err := Package{Name: "hello", Version: "1.0", Log: log}.Build(ctx, repo)
	if err != nil {
		t.Fatal(err)
	}
	key.sign(t, pkg)
	archives, err := RepoAdd(ctx, log, filepath.Join(repo, "demo.db.tar.gz"), pkg)
	if err != nil {
		t.Fatal(err)
	}
	key.sign(t, archives[:]...)
	if err := LinkSignatures(archives); err != nil {
		t.Fatal(err)
	}

	gpg, err := NewGPG(ctx, log, filepath.Join(dir, "gnupg"), key.cert)
	if err != nil {
		t.Fatal(err)
	}
	pac, err := NewPacman(log, filepath.Join(dir, "client"), gpg, "demo", repo)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{pkg, archives[0], archives[1]} {
		if err := gpg.Verify(ctx, f+".sig", f); err != nil {
			t.Error(err)
		}
		if err := SQV(ctx, log, key.cert, f+".sig", f); err != nil {
			t.Error(err)
		}
	}
	if err := pac.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := pac.Download(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := pac.Install(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "client/root/usr/bin/hello")); err != nil {
		t.Error(err)
	}
	refusals(t, ctx, gpg, key, dir, repo, archives[0], pkg)
}

// refusals changes what was signed and wants every program to say no.
func refusals(t *testing.T, ctx context.Context, gpg *GPG, key *softKey, dir, repo, db, pkg string) {
	t.Helper()
	flipLastByte(t, db)
	if err := gpg.Verify(ctx, db+".sig", db); err == nil {
		t.Error("gpg accepts a changed database")
	}
	if err := SQV(ctx, t.Output(), key.cert, db+".sig", db); err == nil {
		t.Error("sqv accepts a changed database")
	}
	pac, err := NewPacman(t.Output(), filepath.Join(dir, "client2"), gpg, "demo", repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := pac.Sync(ctx); err == nil {
		t.Error("pacman accepts a changed database")
	}
	flipLastByte(t, db)
	if err := pac.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	flipLastByte(t, pkg)
	if err := pac.Download(ctx, "hello"); err == nil {
		t.Error("pacman accepts a changed package")
	}
	if err := os.Remove(filepath.Join(repo, "demo.db.sig")); err != nil {
		t.Fatal(err)
	}
	if err := pac.Sync(ctx); err == nil {
		t.Error("pacman accepts a database without signature")
	}
}

func flipLastByte(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestProgramErrorCarriesTheProgramsWords(t *testing.T) {
	_, err := command{argv: []string{"gpg", "--homedir", t.TempDir(), "--no-autostart", "--batch", "--list-keys", "nobody-has-this-key"}}.run(context.Background())
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("error reading key")) {
		t.Errorf("got %v", err)
	}
}
