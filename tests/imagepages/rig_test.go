package imagepages

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/fat"
	"touchmark/image/manifest"
	"touchmark/image/recipe"
	"touchmark/tests/pivemu/vpcdtest"
)

func TestMain(m *testing.M) {
	vpcdtest.Main()
	os.Exit(m.Run())
}

// patience bounds a page: many times what one takes, so that it means a hang.
const patience = 8 * time.Minute

// rig is a folder in which a page's lines are run, with a small image of a board in build/image/rpi4 as `make image` puts it.
type rig struct {
	t      *testing.T
	ctx    context.Context
	dir    string
	env    []string
	blocks map[string]string
	used   map[string]bool
}

// data is how large the image's data partition is, in sectors.
const data = 32 << 20 / fat.SectorSize

func newRig(t *testing.T, page string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r := &rig{t: t, ctx: ctx, dir: t.TempDir(), used: map[string]bool{}}
	var err error
	r.blocks, err = blocks(page)
	r.must(err)
	bin := r.path("build/bin")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+"/touchmark-image", "./image/cmd/touchmark-image")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v %s", err, said)
	}
	r.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "HOME="+r.dir, "LC_ALL=C.UTF-8")
	r.image()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.path(name))
	r.must(err)
	return string(b)
}

// image makes what `make image` makes, as far as pages need it.
func (r *rig) image() {
	r.t.Helper()
	rpi4, err := board.Named("rpi4")
	r.must(err)
	boot, err := bootimg.Make([]fat.File{{Name: board.ConfigFile, Content: []byte(rpi4.BootConfig())}, {Name: board.CommandLineFile, Content: []byte(rpi4.CommandLine())},
		{Name: board.KernelFile, Content: []byte("kernel")}, {Name: board.InitramfsFile, Content: []byte("root")}}, time.Unix(1794824220, 0))
	r.must(err)
	sig, err := recipe.Sign(r.ctx, boot, nil)
	r.must(err)
	r.must(recipe.Assemble(r.ctx, boot, sig.Bytes(), nil, r.path("build/image/rpi4"), data))
	list, err := manifest.Manifest{Format: manifest.Format, Board: "rpi4", Version: "0.1.0", Serial: 1,
		Files: []manifest.File{{Name: "boot.img", Size: int64(len(boot)), SHA256: fmt.Sprintf("%x", sha256.Sum256(boot))}}}.Bytes()
	r.must(err)
	for name, content := range map[string][]byte{"boot.img": boot, "manifest.json": list} {
		r.must(os.WriteFile(r.path("build/image/rpi4/"+name), content, 0o644))
	}
}

// lines are those of a fence, with words replaced: pairs of what stands there and what is taken for it.
func (r *rig) lines(name string, replace ...string) string {
	r.t.Helper()
	text, ok := r.blocks[name]
	if !ok {
		r.t.Fatalf("the page has no fence named %s", name)
	}
	r.used[name] = true
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			r.t.Fatalf("%s: there is no %q in\n%s", name, replace[i], text)
		}
	}
	return strings.NewReplacer(replace...).Replace(text)
}

// sh runs lines that must succeed, and returns what they said.
func (r *rig) sh(lines string) string {
	r.t.Helper()
	c := exec.CommandContext(r.ctx, "bash", "-euxo", "pipefail", "-c", lines)
	c.Dir, c.Env = r.dir, r.env
	said, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v: %s", err, said)
	}
	return string(said)
}

// all sees to it that no fence of the page was left out.
func (r *rig) all() {
	r.t.Helper()
	for name := range r.blocks {
		if !r.used[name] {
			r.t.Errorf("the fence named %s was not run", name)
		}
	}
}
