// Package recipe makes the board's image of this repository and Debian's packages: kernel, device tree, initramfs,
// boot.img, slot and card, with a manifest of all hashes and versions, a list of the software in it (SPDX) and its licences.
//
// Two builds of one state of the repository give the same bytes wherever and whenever they run, if they have the same
// compilers; the manifest names those. Nothing is fetched but what is pinned by its hash (pins.go) and Go's modules, which
// go.sum pins.
package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"touchmark/image/board"
	"touchmark/image/card"
	"touchmark/image/debian"
	"touchmark/image/kernel"
	"touchmark/image/manifest"
)

// Recipe is one build.
type Recipe struct {
	Board   board.Board
	Module  string // folder of this module
	Out     string // folder of what is made; replaced
	Cache   string // folder of fetched packages and finished kernels
	Work    string // folder of what is needed on the way
	GoCache string // folder of Go's compiled packages; empty: the user's
	Jobs    int    // compilers at a time
	Signer  Signer // nil: boot.sig has no signature
	Sources debian.Sources
	Kernel  string // accept a kernel of this hash in place of the published one
	Log     io.Writer
}

// Names of what a build makes, in its folder.
const (
	BootImage    = card.BootFile
	BootSig      = card.SigFile
	SlotImage    = "slot.img"
	CardImage    = "sdcard.img"
	Initramfs    = board.InitramfsFile
	KernelImage  = kernel.Image
	Tree         = board.TreeFile
	CommandLine  = board.CommandLineFile
	GoldenFile   = "golden.txt"
	ManifestFile = "manifest.json"
	BillFile     = "sbom.spdx.json"
	Licences     = "licences"
)

// parts is what a build has gathered.
type parts struct {
	kernel   kernel.Kernel
	packages map[string]string // fetched packages' paths
	programs []program
	files    map[string][]byte // by name in the output folder
}

// Build makes an image.
func (r Recipe) Build(ctx context.Context) (manifest.Manifest, error) {
	p := parts{packages: map[string]string{}, files: map[string][]byte{}}
	steps := []struct {
		name string
		do   func(context.Context, *parts) error
	}{
		{"fetching Debian's packages", r.fetch},
		{"building the kernel", r.kernel},
		{"building the programs", r.programs},
		{"packing", r.pack},
		{"signing", r.sign},
		{"measuring", func(_ context.Context, p *parts) error { return r.golden(p) }},
	}
	for _, s := range steps {
		fmt.Fprintf(r.Log, "image %s: %s\n", r.Board.Name, s.name)
		if err := s.do(ctx, &p); err != nil {
			return manifest.Manifest{}, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return r.write(ctx, &p)
}

func (r Recipe) fetch(ctx context.Context, p *parts) error {
	wanted := []debian.Package{linuxSource}
	if r.Board.Firmware {
		wanted = append(wanted, firmware)
	}
	paths, err := debian.Fetch(ctx, filepath.Join(r.Cache, "debian"), r.Sources, r.Log, wanted...)
	if err != nil {
		return err
	}
	for i, w := range wanted {
		p.packages[w.Name] = paths[i]
	}
	return nil
}

func (r Recipe) kernel(ctx context.Context, p *parts) (err error) {
	p.kernel, err = kernel.Recipe{
		Source: p.packages[linuxSource.Name], SHA256: linuxSource.SHA256, Date: date,
		Work: filepath.Join(r.Work, "kernel"), Cache: filepath.Join(r.Cache, "kernel"), Jobs: r.Jobs, Log: r.Log,
	}.Build(ctx, r.Board.Kernel)
	if err != nil {
		return err
	}
	return kernel.Golden(r.Board.Kernel, p.kernel, r.Kernel)
}

// write puts everything into the output folder, which appears whole.
func (r Recipe) write(ctx context.Context, p *parts) (m manifest.Manifest, err error) {
	if err := os.MkdirAll(filepath.Dir(r.Out), 0o755); err != nil {
		return m, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(r.Out), ".new.*")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for name, content := range p.files {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return m, err
		}
	}
	if err := writeCard(ctx, p.files[SlotImage], date, filepath.Join(tmp, CardImage), card.DataSectors); err != nil {
		return m, err
	}
	if m, err = r.describe(ctx, p, tmp); err != nil {
		return m, err
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), os.RemoveAll(r.Out)); err != nil {
		return m, err
	}
	return m, os.Rename(tmp, r.Out)
}
