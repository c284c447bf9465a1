package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"touchmark/appliance/update"
	"touchmark/hostlink/hostd/api"
	"touchmark/image/card"
	"touchmark/image/manifest"
	"touchmark/image/recipe"
	"touchmark/image/verify"
)

func verifyCmd() *cobra.Command {
	var list, public string
	c := &cobra.Command{
		Use:   "verify --manifest FILE DEVICE|FILE|FOLDER",
		Short: "Compare a card, a file of a build, or all of one, with the published build",
		Long: "Verify reads a card (a device, or an image of one), any file that a build's manifest has, or a build's whole folder.\n" +
			"It exits 0 if the slot that is started, the file, or each file of the folder and no other, is what the manifest describes,\n" +
			"3 if not, and 1 if something could not be read: then nothing is said of it. A slot and a boot.sig may be signed:\n" +
			"by whom, --public says.",
		Example: "  touchmark-image verify --manifest manifest.json --public boot.pub /dev/sdX\n" +
			"  touchmark-image verify --manifest manifest.json build/image/rpi4",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || list == "" {
				return usagef("%s needs --manifest FILE and one device, file or folder", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			m, key, err := expectations(c.Context(), list, public)
			if err != nil {
				return err
			}
			return verifyPath(c, args[0], m, key)
		},
	}
	c.Flags().StringVar(&list, "manifest", "", "the published manifest.json")
	c.Flags().StringVar(&public, "public", "", "public key (PEM) that the boot.sig of a card must be signed by")
	return c
}

func verifyPath(c *cobra.Command, path string, m manifest.Manifest, key *rsa.PublicKey) (err error) {
	if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
		err = verifyFolder(c.OutOrStdout(), folder{c.Context(), os.DirFS(path)}, m, key)
	} else {
		f, openErr := openSeekable(c.Context(), path)
		if openErr != nil {
			return fmt.Errorf("%w: %w", verify.ErrRead, openErr)
		}
		defer f.Close()
		err = verifyAny(c.OutOrStdout(), interruptible{c.Context(), f}, m, key)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func expectations(ctx context.Context, list, public string) (m manifest.Manifest, key *rsa.PublicKey, err error) {
	b, err := readFile(ctx, list, manifest.MaxBytes+1)
	if err != nil {
		return m, nil, err
	}
	if m, err = manifest.Parse(b); err != nil {
		return m, nil, fmt.Errorf("%s: %w", list, err)
	}
	key, err = optionalKey(ctx, public)
	return m, key, err
}

// optionalKey is nil for no file.
func optionalKey(ctx context.Context, path string) (*rsa.PublicKey, error) {
	if path == "" {
		return nil, nil
	}
	return unlessDone(ctx, func() (*rsa.PublicKey, error) { return recipe.PublicKey(path) })
}

// readFile reads a file, which may be a pipe, and at most so many bytes of it.
func readFile(ctx context.Context, path string, most int64) ([]byte, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.Close() })() // ends a Read of a pipe into which nobody writes
	return io.ReadAll(io.LimitReader(f, most))
}

// openSeekable opens what can be read at any place: a device or a file. A card is recognized before it is read through.
func openSeekable(ctx context.Context, path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() && mode&fs.ModeDevice == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is a pipe or a socket, not a device, a file or a folder")}
	}
	return open(ctx, path)
}

// open is os.Open that a context ends: nobody may write into a pipe, and a device may not answer.
func open(ctx context.Context, path string) (*os.File, error) {
	return unlessDone(ctx, func() (*os.File, error) { return os.Open(path) })
}

// unlessDone waits for what do answers, or for the context's end: then the program ends, and what it waits for with it.
func unlessDone[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// interruptible is a file whose reading ends with a context: a card takes minutes, and a device may have no end.
type interruptible struct {
	ctx  context.Context
	file *os.File
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.file.Read(p)
}

// readAtMost is how much is read of a file at once.
const readAtMost = 1 << 20

func (i interruptible) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		if err = i.ctx.Err(); err == nil {
			var m int
			m, err = i.file.ReadAt(p[n:min(len(p), n+readAtMost)], off+int64(n))
			n += m
		}
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// folder is one whose files are [interruptible].
type folder struct {
	ctx context.Context
	fs.FS
}

func (f folder) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if plain, ok := file.(*os.File); err == nil && ok {
		return struct {
			io.Closer
			stater
			interruptible
		}{plain, plain, interruptible{f.ctx, plain}}, nil
	}
	return file, err
}

type stater interface{ Stat() (fs.FileInfo, error) }

func (f folder) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.FS, name) }

func verifyFolder(out io.Writer, f folder, m manifest.Manifest, key *rsa.PublicKey) error {
	other, err := verify.Folder(f, m, key)
	switch {
	case err != nil:
		return err
	case other != nil:
		for _, o := range other {
			fmt.Fprintln(out, api.Printable(o)) // names of files in it are whoever's who made them
		}
		return fmt.Errorf("%w: %d of its files are others, missing or too many", verify.ErrOther, len(other))
	}
	fmt.Fprintf(out, "the published build, all %d files: %s %s, serial %d\n", len(m.Files), m.Board, m.Version, m.Serial)
	return nil
}

// verifyAny tells a card from another file by its partition table.
func verifyAny(out io.Writer, f interruptible, m manifest.Manifest, key *rsa.PublicKey) error {
	report, err := verify.Card(f, m, key)
	if errors.Is(err, card.ErrTable) {
		return verifyFile(out, f, m, key)
	}
	if err != nil {
		return err
	}
	for _, s := range update.Slots {
		fmt.Fprintln(out, line(s, report, m))
	}
	fmt.Fprintf(out, "data: %d MiB\n", report.Data/2048)
	return report.Err()
}

func verifyFile(out io.Writer, f io.Reader, m manifest.Manifest, key *rsa.PublicKey) error {
	name, err := verify.File(f, m, key)
	switch {
	case errors.Is(err, verify.ErrNoSig):
		return usagef("--public is about the boot.sig of a card, of a slot, or by itself: %w", err)
	case err == nil:
		fmt.Fprintf(out, "%s of the published build: %s %s, serial %d\n", name, m.Board, m.Version, m.Serial)
	}
	return err
}

func line(s update.Slot, r verify.Report, m manifest.Manifest) string {
	text := "slot " + s.String()
	if s == r.Started {
		text += " (started"
		if r.Phase != update.Settled {
			text += "; update: " + string(r.Phase)
		}
		text += ")"
	}
	if other := r.Of(s).Other; other != nil {
		return text + ": " + other.Error()
	}
	return fmt.Sprintf("%s: the published build: %s %s, serial %d", text, m.Board, m.Version, m.Serial)
}
