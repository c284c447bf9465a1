package layout

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document/keys"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/intoto"
	"touchmark/hostlink/intoto/aptclient"
)

// clientFlags are those of client.
type clientFlags struct {
	aptclient.Config
	owners []string
	out    string
}

// ClientCommand is "touchmark intoto client".
func ClientCommand(a *cli.App) *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "client --name NAME --version VERSION --rebuilder URL... LAYOUT",
		Short: "Make the Debian package that apt's clients need: layout, keys, configuration",
		Long: `Writes NAME-intoto-client_VERSION_all.deb. Who installs it has the layout, the keys of its
owners and the configuration of apt-transport-in-toto, which it depends on; only "intoto://"
in the sources of apt is left to be written. The next layout is an upgrade of it.

The layout must be signed by every owner, hold, and demand no more links than there are
rebuilders. Owners are the keys of the trust file that signed it, unless --owner names
certificates: those of other appliances, of a primary key (touchmark bind), of gpg.`,
		Example: "  touchmark intoto client --name example --version 1 --rebuilder https://rebuild.alice.example --rebuilder https://rebuild.bob.example root.layout",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return client(a, args[0], f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.Name, "name", "", "of the distribution: in the names of package and files")
	fl.StringVar(&f.Version, "version", "", "of the package; a greater one for each layout")
	fl.StringArrayVar(&f.Rebuilders, "rebuilder", nil, "address whose sources/PACKAGE/VERSION/metadata is a link, once for each rebuilder")
	fl.StringArrayVar(&f.owners, "owner", nil, "OpenPGP certificate of an owner, once for each (default: the keys of the trust file that signed)")
	fl.StringVar(&f.Maintainer, "maintainer", "", `who makes the package, "Name <mail>" (default: the first owner)`)
	fl.StringVar(&f.out, "out", ".", "directory to write it into")
	return c
}

func client(a *cli.App, path string, f clientFlags) (err error) {
	now := time.Now()
	if f.Name == "" || f.Version == "" || len(f.Rebuilders) == 0 {
		return api.Errorf(api.Usage, "client needs --name, --version and a --rebuilder for each link that the layout demands")
	}
	if err := f.Check(); err != nil {
		return api.Errorf(api.Usage, "%w", err)
	}
	m, err := open(a, path, soon)
	if err != nil {
		return err
	}
	if f.Layout, err = api.ReadSmall(path, intoto.MaxFile); err != nil {
		return api.Errorf(api.BadInput, "%w", err)
	}
	if f.Owners, err = ownersOf(a, m, f.owners, now); err != nil {
		return err
	}
	for _, o := range f.Owners {
		for _, k := range o.Ends(m.Expires) {
			fmt.Fprintf(a.Errs, "touchmark: the owner's key %s expires %s, before the layout: from then on no client takes what it signed\n", k.ID, k.Time.Format(keys.TimeForm))
		}
	}
	p, err := f.Package(now)
	switch {
	case errors.Is(err, aptclient.ErrLapsed):
		return api.Errorf(api.Lapsing, "%s: %w", path, err)
	case err != nil:
		return api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	file, err := p.Bytes()
	if err != nil {
		return api.Errorf(api.Usage, "%w", err)
	}
	out := filepath.Join(f.out, p.FileName())
	if err := output.WriteNew(out, file); err != nil {
		return err
	}
	return madeClient(a, out, m, f.Owners)
}

func madeClient(a *cli.App, out string, m *intoto.Metadata, owners []*intoto.Functionary) error {
	ids := make([]string, len(owners))
	for i, o := range owners {
		ids[i] = o.ID
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "package": out, "owners": ids, "expires": m.Expires.Format(keys.TimeForm)})
		return nil
	}
	a.Println(out)
	return nil
}

// ownersOf reads the owners' certificates; without any, those of the trust file that
// the layout names as signers.
func ownersOf(a *cli.App, m *intoto.Metadata, paths []string, now time.Time) (owners []*intoto.Functionary, err error) {
	for _, path := range paths {
		o, err := readFunctionary(path, now)
		if err != nil {
			return nil, err
		}
		owners = append(owners, o)
	}
	if len(paths) > 0 {
		return owners, nil
	}
	t, err := a.LoadTrust()
	if err != nil {
		return nil, err
	}
	for _, k := range t.Keys {
		if k.Bare() || !slices.Contains(m.Signers, sigformat.InTotoGPG.KeyID(k.Key)) {
			continue
		}
		o, err := intoto.ParseKey(k.Bytes(), now)
		if err != nil {
			return nil, api.Errorf(api.BadInput, "key of the trust file: %w", err)
		}
		owners = append(owners, o)
	}
	if len(owners) == 0 {
		return nil, api.Errorf(api.BadInput, "no key of the trust file signed the layout as in-toto-gpg: sign it first ('touchmark intoto layout sign'), or name its owners' certificates (--owner)")
	}
	return owners, nil
}
