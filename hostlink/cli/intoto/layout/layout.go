// Package layout is what "touchmark intoto" does with layouts: they are made, checked,
// signed ("layout"), renewed before they lapse ("resign-due") and handed to clients
// ("client"). What they mean and how they are written is in hostlink/intoto; here are
// flags, files and what people are told.
package layout

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/document/keys"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/sign"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/intoto"
)

// soon is how many days before it lapses a layout is warned of: a person must be
// found who signs it, others who approve it, and clients must get it.
const soon = 60

// Command is "touchmark intoto layout" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "layout", Short: "Layouts: who must have done what", Example: "  touchmark intoto layout check root.layout"}
	c.AddCommand(newCommand(a), checkCommand(a), signCommand(a))
	return c
}

// newFlags are those of layout new.
type newFlags struct {
	intoto.Layout
	rebuilders   []string
	expires, out string
}

func newCommand(a *cli.App) *cobra.Command {
	var f newFlags
	c := &cobra.Command{
		Use:   "new --rebuilder FILE... --out LAYOUT",
		Short: "Write a layout: one step, who may do it, how many must",
		Long: `Writes a layout without signatures, of the form that apt-transport-in-toto comes with: one
step, the keys that may do it, how many of them must have made the same, and an
inspection that does nothing but compare.

A rebuilder is a file with a public key: an OpenPGP certificate (RSA or Ed25519), or a
key in in-toto's own form. It lapses after two years, at the beginning of the day (UTC),
unless --expires says otherwise.`,
		Example: "  touchmark intoto layout new --rebuilder alice.asc --rebuilder bob.asc --out root.layout\n" +
			"  touchmark intoto layout new --rebuilder a.asc --rebuilder b.asc --rebuilder c.asc --threshold 2 --out root.layout",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("threshold") && f.Threshold == 0 {
				return api.Errorf(api.Usage, "--threshold 0 would have nobody agree: leave it out to have all")
			}
			return create(a, f)
		},
	}
	fl := c.Flags()
	fl.StringArrayVar(&f.rebuilders, "rebuilder", nil, "file with the public key of one who may do the step, once for each")
	fl.IntVar(&f.Threshold, "threshold", 0, "how many of them must agree (default: all)")
	fl.StringVar(&f.Step, "step", "rebuild", "name of the step")
	fl.StringVar(&f.Products, "products", "*.deb", "pattern of the files that clients check")
	fl.StringVar(&f.expires, "expires", "", "when it lapses, such as 2028-11-22T00:00:00Z (default: in two years)")
	fl.StringVar(&f.Readme, "readme", "", "text for people")
	fl.StringVar(&f.out, "out", "", "file to write; it must not exist")
	return c
}

func create(a *cli.App, f newFlags) (err error) {
	now := time.Now()
	if f.out == "" || len(f.rebuilders) == 0 {
		return api.Errorf(api.Usage, "layout new needs --out and at least one --rebuilder")
	}
	if f.Expires, err = expiry(f.expires, now); err != nil {
		return err
	}
	for _, path := range f.rebuilders {
		k, err := readFunctionary(path, now)
		if err != nil {
			return err
		}
		if !k.Expires.IsZero() && k.Expires.Before(f.Expires) {
			fmt.Fprintf(a.Errs, "touchmark: %s expires %s, before the layout: what it signs later does not count\n", path, k.Expires.Format(keys.TimeForm))
		}
		f.Keys = append(f.Keys, k)
	}
	if f.Threshold == 0 {
		f.Threshold = len(f.Keys)
	}
	file, err := f.File()
	if err != nil {
		return api.Errorf(api.Usage, "%w", err)
	}
	if err := output.WriteNew(f.out, file); err != nil {
		return err
	}
	if !a.JSON {
		a.Println(fmt.Sprintf("%s: %d of %d keys, expires %s; not signed yet", f.out, f.Threshold, len(f.Keys), f.Expires.Format(keys.TimeForm)))
		return nil
	}
	ids := make([]string, len(f.Keys))
	for i, k := range f.Keys {
		ids[i] = k.ID
	}
	a.Object(map[string]any{"ok": true, "layout": f.out, "keys": ids, "threshold": f.Threshold, "expires": f.Expires.Format(keys.TimeForm)})
	return nil
}

func readFunctionary(path string, now time.Time) (*intoto.Functionary, error) {
	b, err := api.ReadSmall(path, intoto.MaxKeyFile)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", err)
	}
	k, err := intoto.ParseKey(b, now)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	return k, nil
}

// expiry is when a layout that is made now lapses.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return intoto.DefaultExpiry(now), nil
	}
	t, err := time.Parse(keys.TimeForm, text)
	if err != nil {
		return t, api.Errorf(api.Usage, "--expires %s: use a time like 2028-11-22T00:00:00Z", text)
	}
	if !t.After(now) {
		return t, api.Errorf(api.Usage, "--expires %s is past: nobody would take the layout", text)
	}
	return t, nil
}

func checkCommand(a *cli.App) *cobra.Command {
	var days int
	c := &cobra.Command{
		Use:   "check LAYOUT",
		Short: "Show what a layout means, as the operator will see it",
		Long: "Reads a layout as the appliance does and shows what it means, and whose signatures it claims to have: these are\n" +
			"not checked here, 'touchmark verify --sig LAYOUT LAYOUT' does that. Says so if it lapses soon; exit code 13 if it has.",
		Example: "  touchmark intoto layout check root.layout",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return check(a, args[0], days) },
	}
	c.Flags().IntVar(&days, "days", soon, "warn if it lapses within so many days")
	return c
}

func check(a *cli.App, path string, days int) error {
	m, err := open(a, path, days)
	if m == nil {
		return err
	}
	meaning := m.At(time.Now())
	if a.JSON {
		a.Object(map[string]any{"ok": err == nil, "layout": path, "expires": m.Expires.Format(keys.TimeForm), "signers": append([]string{}, m.Signers...), "meaning": meaning})
		return err
	}
	for _, line := range meaning {
		a.Println(line)
	}
	for _, id := range m.Signers {
		fmt.Fprintf(a.Out, "signature by %.80q, not checked here\n", id)
	}
	if len(m.Signers) == 0 {
		a.Println("no signature")
	}
	return err
}

// open reads a layout and warns if it lapses soon. One that has lapsed is an
// error beside the layout; without one the file is none.
func open(a *cli.App, path string, days int) (*intoto.Metadata, error) {
	if err := checkDays(days); err != nil {
		return nil, err
	}
	m, err := ReadMetadata(path)
	if err != nil {
		return nil, err
	}
	if m.Kind != document.Layout {
		return nil, api.Errorf(api.BadInput, "%s is an %s, not a layout", path, m.Kind)
	}
	switch now := time.Now(); {
	case m.Due(now, 0):
		return m, api.Errorf(api.Lapsing, "%s has lapsed, at %s", path, m.Expires.Format(keys.TimeForm))
	case m.Due(now, daysOf(days)):
		fmt.Fprintf(a.Errs, "touchmark: %s lapses soon, at %s\n", path, m.Expires.Format(keys.TimeForm))
	}
	warnOfKeys(a, path, m, m.Expires)
	return m, nil
}

// warnOfKeys tells which keys of a layout end before it.
func warnOfKeys(a *cli.App, path string, m *intoto.Metadata, expires time.Time) {
	for _, k := range m.Ends(expires) {
		fmt.Fprintf(a.Errs, "touchmark: %s: the key %s expires %s, before the layout: links that it signs later do not count\n", path, k.ID, k.Time.Format(keys.TimeForm))
	}
}

// ReadMetadata reads a file of metadata, a layout or a link. What is none is bad input.
func ReadMetadata(path string) (*intoto.Metadata, error) {
	b, err := api.ReadSmall(path, intoto.MaxFile)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", err)
	}
	m, err := intoto.Open(b)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	return m, nil
}

// maxDays is a century: more is a slip, and would not fit a duration for long.
const maxDays = 36525

func checkDays(days int) error {
	if days < 0 || days > maxDays {
		return api.Errorf(api.Usage, "--days %d: use 0 to %d", days, maxDays)
	}
	return nil
}

func daysOf(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func signCommand(a *cli.App) *cobra.Command {
	var f sign.Options
	c := &cobra.Command{
		Use:   "sign [flags] LAYOUT...",
		Short: "Have layouts signed; the signature goes into the file",
		Long: "Looks whether these are layouts that hold, then has them signed as 'touchmark sign' does. The signature is put into\n" +
			"the file, beside those by other keys, so that several appliances and owners can sign one layout, in any order.\n" +
			"Where the class wants approvals, they are given as for any file ('touchmark approvals request --format in-toto-gpg').",
		Example: "  touchmark intoto layout sign root.layout\n  touchmark intoto layout sign --format in-toto-native --class layouts root.layout",
		Args:    cli.SomeFiles,
		RunE: func(_ *cobra.Command, paths []string) error {
			if err := f.CheckMetadata(); err != nil {
				return err
			}
			for _, path := range paths {
				if _, err := open(a, path, soon); err != nil {
					return err
				}
			}
			return sign.Files(a, paths, &f)
		},
	}
	f.AskMetadata(c)
	return c
}
