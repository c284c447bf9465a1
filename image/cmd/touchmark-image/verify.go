package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"touchmark/appliance/update"
	"touchmark/image/card"
	"touchmark/image/manifest"
	"touchmark/image/recipe"
	"touchmark/image/verify"
)

func verifyCmd() *cobra.Command {
	var list, public string
	c := &cobra.Command{
		Use:   "verify --manifest FILE DEVICE|FILE",
		Short: "Compare a card, or a file of a build, with the published build",
		Long: "Verify reads a card (a device, or an image of one) or any file that a build makes. It exits 0 if the slot that is\n" +
			"started, or the file, is what the manifest describes, and 3 if not.",
		Example: "  touchmark-image verify --manifest manifest.json --public boot.pub /dev/sdX",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || list == "" {
				return usagef("%s needs --manifest FILE and one device or file", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			m, key, err := expectations(list, public)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return verifyAny(c.OutOrStdout(), interruptible{c.Context(), f}, m, key)
		},
	}
	c.Flags().StringVar(&list, "manifest", "", "the published manifest.json")
	c.Flags().StringVar(&public, "public", "", "public key (PEM) that the boot.sig of a card must be signed by")
	return c
}

func expectations(list, public string) (m manifest.Manifest, key *rsa.PublicKey, err error) {
	b, err := readList(list)
	if err != nil {
		return m, nil, err
	}
	if m, err = manifest.Parse(b); err != nil {
		return m, nil, fmt.Errorf("%s: %w", list, err)
	}
	if public != "" {
		key, err = recipe.PublicKey(public)
	}
	return m, key, err
}

// readList reads a file that should be a manifest: not much more of it than one may have.
func readList(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, manifest.MaxBytes+1))
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

// verifyAny tells a card from another file by its partition table.
func verifyAny(out io.Writer, f interruptible, m manifest.Manifest, key *rsa.PublicKey) error {
	report, err := verify.Card(f, m, key)
	switch {
	case errors.Is(err, card.ErrTable) && key != nil:
		return usagef("--public is about the boot.sig of a card, and this is no card: %w", err)
	case errors.Is(err, card.ErrTable):
		name, err := verify.File(f, m)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s of the published build: %s %s, serial %d\n", name, m.Board, m.Version, m.Serial)
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", verify.ErrOther, err)
	}
	for _, s := range update.Slots {
		fmt.Fprintln(out, line(s, report, m))
	}
	fmt.Fprintf(out, "data: %d MiB\n", report.Data/2048)
	if err := report.Err(); err != nil {
		return fmt.Errorf("%w: %w", verify.ErrOther, err)
	}
	return nil
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
