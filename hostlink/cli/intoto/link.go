package intoto

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/intoto/layout"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/sign"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/intoto"
	"touchmark/hostlink/message"
)

// linkFlags are those of link.
type linkFlags struct {
	sign.Options
	step, key, out string
}

func linkCommand(a *cli.App) *cobra.Command {
	var f linkFlags
	c := &cobra.Command{
		Use:   "link [flags] PRODUCT...",
		Short: "Record what a step made, and have the link signed",
		Long: `Writes a link: the step, and of each product its name without directories and its SHA-256
digest. Then it is signed, as 'touchmark sign' does, into the file. Its name is the one that
in-toto-verify looks for, STEP.KEYID.link, unless --out says otherwise: apt's transport asks
a rebuilder's server for sources/PACKAGE/VERSION/metadata.

If nobody signs it, it stays there without a signature; the same call goes on from there.`,
		Example: "  touchmark intoto link hello_1.0_amd64.deb\n  touchmark intoto link --step build --format in-toto-native --key 47699aa3 --class links demo.tar",
		Args:    cli.SomeFiles,
		RunE:    func(_ *cobra.Command, products []string) error { return link(a, products, &f) },
	}
	f.AskMetadata(c)
	c.Flags().StringVar(&f.step, "step", "rebuild", "name of the step in the layout")
	c.Flags().StringVar(&f.key, "key", "", "id of the key that will sign, or its first 8 or more digits (default: the only one that can)")
	c.Flags().StringVar(&f.out, "out", "", "file to write (default: STEP.KEYID.link)")
	return c
}

func link(a *cli.App, products []string, f *linkFlags) error {
	if err := f.CheckMetadata(); err != nil {
		return err
	}
	id, err := linkKey(a, f)
	if err != nil {
		return err
	}
	file, err := record(f.step, products)
	if err != nil {
		return err
	}
	if f.out == "" {
		f.out = intoto.LinkName(f.step, id)
	}
	if err := output.WriteOnce(f.out, file); err != nil {
		return err
	}
	if err := sign.Files(a, []string{f.out}, &f.Options); err != nil {
		return err
	}
	m, err := layout.ReadMetadata(f.out)
	if err == nil && id != "" && !slices.Contains(m.Signers, id) {
		return api.Errorf(api.BadInput, "%s was signed by another key, %s, so nobody looks for it there: take --key for the key that the class signs with", f.out, strings.Join(m.Signers, ", "))
	}
	return err
}

// linkKey is the id of the key that will sign, which the file's name depends on;
// empty if the name is given and the key is not.
func linkKey(a *cli.App, f *linkFlags) (string, error) {
	if f.out != "" && f.key == "" {
		return "", nil
	}
	if f.key != "" && len(f.key) < 8 {
		return "", api.Errorf(api.Usage, "--key %s: 8 digits at least", f.key)
	}
	t, err := a.LoadTrust()
	if err != nil {
		return "", err
	}
	format, _ := sigformat.FormatOf(f.Format)
	var ids []string
	for _, k := range t.Keys {
		able := format.Signs(k.Key.Algorithm(), message.Alg(f.Alg)) == nil && k.Fits(format.Family) == nil
		if id := format.KeyID(k.Key); able && strings.HasPrefix(id, strings.ToLower(f.key)) {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) == 0:
		return "", api.Errorf(api.BadInput, "no key of the trust file%s signs %s over %s: take another --format, or have the administrators add such a key", named(f.key), f.Format, f.Alg)
	}
	return "", api.Errorf(api.Usage, "several keys can sign it, say which by --key: %s", strings.Join(ids, ", "))
}

// named tells which keys were asked for.
func named(key string) string {
	if key == "" {
		return ""
	}
	return " whose id begins with " + key
}

// record makes the link of a step that made these files.
func record(step string, paths []string) ([]byte, error) {
	hashed, err := hashing.Files(paths, sigformat.OpenPGPBinary, message.SHA256, new(atomic.Int64))
	if err != nil {
		return nil, err
	}
	products := make([]intoto.Product, len(hashed))
	for i, h := range hashed {
		products[i].Name = filepath.Base(h.Path)
		copy(products[i].SHA256[:], h.State.Digest())
	}
	file, err := intoto.Link(step, products)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", err)
	}
	return file, nil
}
