package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/debian"
	"touchmark/image/recipe"
)

// builder are the flags of all that builds.
type builder struct {
	board, module, out, cache, kernel, snapshot string
	jobs                                        int
	mirrors                                     []string
	quiet                                       bool
	signing
}

func (b *builder) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&b.board, "board", board.Boards[0].Name, "which board: "+board.Names())
	f.StringVar(&b.module, "source", ".", "folder of the touchmark repository")
	f.StringVar(&b.cache, "cache", "", "folder of fetched packages and finished kernels (default SOURCE/build/image-cache)")
	f.StringVar(&b.kernel, "kernel", "", "take a kernel whose SHA256SUMS has this SHA-256, in place of the published one")
	f.IntVar(&b.jobs, "jobs", runtime.NumCPU(), "compilers at a time")
	f.StringArrayVar(&b.mirrors, "mirror", debian.Mirrors, "line of a sources.list to fetch Debian's packages from")
	f.StringVar(&b.snapshot, "snapshot", debian.Snapshot, "where a version is fetched that the mirrors no longer have: its SHA-1 is put behind this URL; empty: nowhere")
	f.BoolVarP(&b.quiet, "quiet", "q", false, "do not show what is being done")
	b.signing.flags(c)
}

// recipe is what the flags ask for.
func (b *builder) recipe(c *cobra.Command) (r recipe.Recipe, err error) {
	if r.Board, err = board.Named(b.board); err != nil {
		return r, usageError{err}
	}
	if r.Module, err = filepath.Abs(b.module); err != nil {
		return r, err
	}
	if _, err := os.Stat(filepath.Join(r.Module, "image/recipe/pins.go")); err != nil {
		return r, usagef("%s is not the touchmark repository: name it by --source", b.module)
	}
	if err := sameVersion(r.Module); err != nil {
		return r, err
	}
	r.Out = orUnder(b.out, r.Module, "build/image", b.board)
	r.Cache = orUnder(b.cache, r.Module, "build/image-cache")
	if r.Out, err = filepath.Abs(r.Out); err != nil {
		return r, err
	}
	if r.Cache, err = filepath.Abs(r.Cache); err != nil {
		return r, err
	}
	r.Work, r.Jobs, r.Kernel, r.Log = filepath.Join(r.Cache, "work"), b.jobs, b.kernel, c.ErrOrStderr()
	r.Sources = debian.Sources{Mirrors: slices.Clone(b.mirrors), Snapshot: b.snapshot}
	if b.quiet {
		r.Log = io.Discard
	}
	r.Signer, err = b.signer(c.Context())
	return r, err
}

// sameVersion refuses sources of another version than this program's: the recipe and what the manifest says are the
// program's, so the image would be called what it is not.
func sameVersion(module string) error {
	text, err := os.ReadFile(filepath.Join(module, "appliance/update/version.go"))
	if err != nil {
		return err
	}
	for _, line := range []string{fmt.Sprintf("const Version = %q", update.Version), fmt.Sprintf("const Serial = %d", update.Serial)} {
		if !slices.Contains(strings.Split(string(text), "\n"), line) {
			return usagef("%s has sources of another version than this touchmark-image (%s, serial %d): build it anew from them (go build ./image/cmd/touchmark-image)",
				module, update.Version, update.Serial)
		}
	}
	return nil
}

func orUnder(path string, parts ...string) string {
	if path != "" {
		return path
	}
	return filepath.Join(parts...)
}

func buildCmd() *cobra.Command {
	var b builder
	c := &cobra.Command{
		Use:   "build",
		Short: "Make kernel, initramfs, boot.img, slot and card",
		Long: "Build makes the image of one board of the sources and of Debian's packages, each pinned by its hash.\n" +
			"The first run builds the kernel, some nine minutes of one processor's time; it is kept for later ones.",
		Example: "  touchmark-image build --board cm4 --key boot.pem",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := b.recipe(c)
			if err != nil {
				return err
			}
			m, err := r.Build(c.Context())
			if err != nil {
				return err
			}
			for _, f := range m.Files {
				fmt.Fprintf(c.OutOrStdout(), "%s  %10d  %s\n", f.SHA256, f.Size, filepath.Join(r.Out, f.Name))
			}
			return nil
		},
	}
	b.flags(c)
	c.Flags().StringVar(&b.out, "out", "", "folder for what is made (default SOURCE/build/image/BOARD)")
	return c
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, and was given %q", c.CommandPath(), args)
	}
	return nil
}
