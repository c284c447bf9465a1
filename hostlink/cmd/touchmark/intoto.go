package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/document/keys"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/intoto"
	"touchmark/tpm/ledgerstore/durable"
)

// soon is how many days before it lapses a layout is warned of: a person must be
// found who signs it, others who approve it, and clients must get it.
const soon = 60

func (a *app) inTotoCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "intoto",
		Short:   "Make, check and sign in-toto's layouts and links",
		Long:    "What in-toto-verify and apt-transport-in-toto read: a layout says who must have rebuilt a package, and a link\nthat somebody did. Both are shown to the operator, by what they mean, before they are signed.",
		Example: "  touchmark intoto layout check root.layout",
	}
	layout := &cobra.Command{Use: "layout", Short: "Layouts: who must have done what", Example: "  touchmark intoto layout check root.layout"}
	layout.AddCommand(a.layoutNewCmd(), a.layoutCheckCmd(), a.layoutSignCmd())
	c.AddCommand(layout, a.linkCmd(), a.resignCmd(), a.clientCmd())
	return c
}

// layoutFlags are those of layout new.
type layoutFlags struct {
	intoto.Layout
	rebuilders   []string
	expires, out string
}

func (a *app) layoutNewCmd() *cobra.Command {
	var f layoutFlags
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
				return exitf(api.Usage, "--threshold 0 would have nobody agree: leave it out to have all")
			}
			return a.layoutNew(f)
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

func (a *app) layoutNew(f layoutFlags) (err error) {
	now := time.Now()
	if f.out == "" || len(f.rebuilders) == 0 {
		return exitf(api.Usage, "layout new needs --out and at least one --rebuilder")
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
			fmt.Fprintf(a.errs, "touchmark: %s expires %s, before the layout: what it signs later does not count\n", path, k.Expires.Format(keys.TimeForm))
		}
		f.Keys = append(f.Keys, k)
	}
	if f.Threshold == 0 {
		f.Threshold = len(f.Keys)
	}
	file, err := f.File()
	if err != nil {
		return exitf(api.Usage, "%w", err)
	}
	if err := writeNew(f.out, file); err != nil {
		return err
	}
	if !a.json {
		a.println(fmt.Sprintf("%s: %d of %d keys, expires %s; not signed yet", f.out, f.Threshold, len(f.Keys), f.Expires.Format(keys.TimeForm)))
		return nil
	}
	ids := make([]string, len(f.Keys))
	for i, k := range f.Keys {
		ids[i] = k.ID
	}
	a.object(map[string]any{"ok": true, "layout": f.out, "keys": ids, "threshold": f.Threshold, "expires": f.Expires.Format(keys.TimeForm)})
	return nil
}

func readFunctionary(path string, now time.Time) (*intoto.Functionary, error) {
	b, err := api.ReadSmall(path, intoto.MaxKeyFile)
	if err != nil {
		return nil, exitf(api.BadInput, "%w", err)
	}
	k, err := intoto.ParseKey(b, now)
	if err != nil {
		return nil, exitf(api.BadInput, "%s: %w", path, err)
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
		return t, exitf(api.Usage, "--expires %s: use a time like 2028-11-22T00:00:00Z", text)
	}
	if !t.After(now) {
		return t, exitf(api.Usage, "--expires %s is past: nobody would take the layout", text)
	}
	return t, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, content []byte) error {
	_, err := os.Lstat(path)
	if err == nil {
		return exitf(api.CannotWrite, "%s exists already: name another file, or move it away", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = durable.WriteFile(path, content, 0o666&^umask)
	}
	if err != nil {
		return exitf(api.CannotWrite, "%s: %w", path, plainWrite(err))
	}
	return nil
}

func (a *app) layoutCheckCmd() *cobra.Command {
	var days int
	c := &cobra.Command{
		Use:   "check LAYOUT",
		Short: "Show what a layout means, as the operator will see it",
		Long: "Reads a layout as the appliance does and shows what it means, and whose signatures it claims to have: these are\n" +
			"not checked here, 'touchmark verify --sig LAYOUT LAYOUT' does that. Says so if it lapses soon; exit code 13 if it has.",
		Example: "  touchmark intoto layout check root.layout",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.layoutCheck(args[0], days) },
	}
	c.Flags().IntVar(&days, "days", soon, "warn if it lapses within so many days")
	return c
}

func (a *app) layoutCheck(path string, days int) error {
	m, err := a.layoutIn(path, days)
	if m == nil {
		return err
	}
	meaning := m.At(time.Now())
	if a.json {
		a.object(map[string]any{"ok": err == nil, "layout": path, "expires": m.Expires.Format(keys.TimeForm), "signers": append([]string{}, m.Signers...), "meaning": meaning})
		return err
	}
	for _, line := range meaning {
		a.println(line)
	}
	for _, id := range m.Signers {
		fmt.Fprintf(a.out, "signature by %.80q, not checked here\n", id)
	}
	if len(m.Signers) == 0 {
		a.println("no signature")
	}
	return err
}

// layoutIn reads a layout and warns if it lapses soon. One that has lapsed is an
// error beside the layout; without one the file is none.
func (a *app) layoutIn(path string, days int) (*intoto.Metadata, error) {
	if err := checkDays(days); err != nil {
		return nil, err
	}
	m, err := readMetadata(path)
	if err != nil {
		return nil, err
	}
	if m.Kind != document.Layout {
		return nil, exitf(api.BadInput, "%s is an %s, not a layout", path, m.Kind)
	}
	switch now := time.Now(); {
	case m.Due(now, 0):
		return m, exitf(api.Lapsing, "%s has lapsed, at %s", path, m.Expires.Format(keys.TimeForm))
	case m.Due(now, daysOf(days)):
		fmt.Fprintf(a.errs, "touchmark: %s lapses soon, at %s\n", path, m.Expires.Format(keys.TimeForm))
	}
	a.warnOfKeys(path, m, m.Expires)
	return m, nil
}

// warnOfKeys tells which keys of a layout end before it.
func (a *app) warnOfKeys(path string, m *intoto.Metadata, expires time.Time) {
	for _, k := range m.Ends(expires) {
		fmt.Fprintf(a.errs, "touchmark: %s: the key %s expires %s, before the layout: links that it signs later do not count\n", path, k.ID, k.Time.Format(keys.TimeForm))
	}
}

func readMetadata(path string) (*intoto.Metadata, error) {
	b, err := api.ReadSmall(path, intoto.MaxFile)
	if err != nil {
		return nil, exitf(api.BadInput, "%w", err)
	}
	m, err := intoto.Open(b)
	if err != nil {
		return nil, exitf(api.BadInput, "%s: %w", path, err)
	}
	return m, nil
}

// maxDays is a century: more is a slip, and would not fit a duration for long.
const maxDays = 36525

func checkDays(days int) error {
	if days < 0 || days > maxDays {
		return exitf(api.Usage, "--days %d: use 0 to %d", days, maxDays)
	}
	return nil
}

func daysOf(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func (a *app) layoutSignCmd() *cobra.Command {
	var f signFlags
	c := &cobra.Command{
		Use:   "sign [flags] LAYOUT...",
		Short: "Have layouts signed; the signature goes into the file",
		Long: "Looks whether these are layouts that hold, then has them signed as 'touchmark sign' does. The signature is put into\n" +
			"the file, beside those by other keys, so that several appliances and owners can sign one layout, in any order.\n" +
			"Where the class wants approvals, they are given as for any file ('touchmark approvals request --format in-toto-gpg').",
		Example: "  touchmark intoto layout sign root.layout\n  touchmark intoto layout sign --format in-toto-native --class layouts root.layout",
		Args:    someFiles,
		RunE: func(_ *cobra.Command, paths []string) error {
			if err := f.isMetadata(); err != nil {
				return err
			}
			for _, path := range paths {
				if _, err := a.layoutIn(path, soon); err != nil {
					return err
				}
			}
			return a.sign(paths, &f)
		},
	}
	f.askMetadata(c)
	return c
}

// askMetadata are the flags of those commands that have metadata signed.
func (f *signFlags) askMetadata(c *cobra.Command) {
	f.inPlace = true
	fl := c.Flags()
	fl.StringVar(&f.class, "class", "", "policy class (default: the first that fits the names)")
	fl.StringVar(&f.format, "format", "in-toto-gpg", "in-toto-gpg or in-toto-native")
	fl.StringVar(&f.alg, "hash", "sha256", "sha256; keys on P-384 need sha384")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the request may wait, for approvals and the operator")
	f.wait(c)
}

func (f *signFlags) isMetadata() error {
	if format, _ := sigformat.FormatOf(f.format); format.Family != sigformat.FamilyInToto {
		return exitf(api.Usage, "--format %s: use in-toto-gpg or in-toto-native", f.format)
	}
	return nil
}
