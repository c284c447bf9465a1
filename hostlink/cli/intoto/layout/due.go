package layout

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/document/keys"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
)

// dueFlags are those of resign-due.
type dueFlags struct {
	days         int
	out, expires string
}

// ResignCommand is "touchmark intoto resign-due".
func ResignCommand(a *cli.App) *cobra.Command {
	var f dueFlags
	c := &cobra.Command{
		Use:   "resign-due [flags] LAYOUT...",
		Short: "Find layouts that lapse soon, and renew them",
		Long: `Exit code 13 if one of the layouts lapses within --days, or has lapsed; 0 if none does. So a
timer can tell. Of one that cannot be read or that never lapses it says so, goes on with the others,
and ends with code 3.

With --out those that are due are written there, by the same names, with a new expiry and
all else the same, without signatures: have them approved where the class wants that, then
'touchmark intoto layout sign' them, then put them in the place of the old ones.`,
		Example: "  touchmark intoto resign-due --json /srv/layouts/root.layout\n  touchmark intoto resign-due --days 90 --out renewed root.layout",
		Args:    cli.SomeFiles,
		RunE:    func(_ *cobra.Command, paths []string) error { return resignDue(a, paths, f) },
	}
	c.Flags().IntVar(&f.days, "days", soon, "how many days before it lapses a layout is due")
	c.Flags().StringVar(&f.out, "out", "", "directory for the renewed layouts")
	c.Flags().StringVar(&f.expires, "expires", "", "when these lapse, such as 2028-11-22T00:00:00Z (default: in two years)")
	return c
}

// dueLayout is a layout as --json shows it.
type dueLayout struct {
	Layout  string `json:"layout"`
	Expires string `json:"expires,omitempty"`
	Due     bool   `json:"due"`
	Lapsed  bool   `json:"lapsed"`
	Renewed string `json:"renewed,omitempty"` // where
	Error   string `json:"error,omitempty"`   // why nothing else is known of it

	file []byte // renewed
}

func resignDue(a *cli.App, paths []string, f dueFlags) error {
	now := time.Now()
	expires, err := expiry(f.expires, now)
	if err != nil {
		return err
	}
	if err := checkDays(f.days); err != nil {
		return err
	}
	if f.expires != "" && f.out == "" {
		return api.Errorf(api.Usage, "--expires goes with --out")
	}
	if !expires.After(now.Add(daysOf(f.days))) {
		return api.Errorf(api.Usage, "what lapses at %s would be due again at once: take fewer --days, or a later --expires", expires.Format(keys.TimeForm))
	}
	list := make([]dueLayout, len(paths))
	due, damaged := 0, 0
	for i, path := range paths {
		if list[i], err = examine(a, path, f, now, expires); err != nil {
			fmt.Fprintln(a.Errs, "touchmark:", api.Printable(err.Error()))
			list[i] = dueLayout{Layout: path, Error: err.Error()}
			damaged++
		}
		if list[i].Due {
			due++
		}
	}
	if err := writeRenewed(list, f, now); err != nil {
		return err
	}
	reportDue(a, list, due, damaged)
	switch {
	case damaged > 0:
		return api.Errorf(api.BadInput, "%d of %d files tell no time at which they lapse; %d to be signed anew", damaged, len(paths), due)
	case due > 0:
		return api.Errorf(api.Lapsing, "%d of %d layouts to be signed anew", due, len(paths))
	}
	return nil
}

// examine looks at one layout.
func examine(a *cli.App, path string, f dueFlags, now, expires time.Time) (d dueLayout, err error) {
	m, err := ReadMetadata(path)
	if err != nil {
		return d, err
	}
	d = dueLayout{Layout: path, Expires: m.Expires.Format(keys.TimeForm), Due: m.Due(now, daysOf(f.days)), Lapsed: m.Due(now, 0)}
	if d.file, err = m.Renewed(expires); err != nil {
		return d, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	if d.Due {
		warnOfKeys(a, path, m, expires)
	}
	if f.out != "" && d.Due {
		d.Renewed = filepath.Join(f.out, filepath.Base(path))
	}
	return d, nil
}

// writeRenewed writes those that have a place; of two for one place none.
func writeRenewed(list []dueLayout, f dueFlags, now time.Time) error {
	places := map[string]string{}
	for _, d := range list {
		if d.Renewed == "" {
			continue
		}
		if other := places[d.Renewed]; other != "" {
			return api.Errorf(api.Usage, "%s and %s have one name: renew them in separate calls", other, d.Layout)
		}
		places[d.Renewed] = d.Layout
	}
	if len(places) == 0 {
		return nil
	}
	if err := output.MakeDir(f.out); err != nil {
		return err
	}
	for _, d := range list {
		if d.Renewed == "" || f.expires == "" && waits(d, f, now) {
			continue
		}
		if err := output.WriteOnce(d.Renewed, d.file); err != nil {
			return err
		}
	}
	return nil
}

// waits reports whether a layout was renewed on an earlier day and stands there still,
// with signatures or without: the same but for the expiry, and not due itself.
func waits(d dueLayout, f dueFlags, now time.Time) bool {
	m, err := ReadMetadata(d.Renewed)
	return err == nil && !m.Due(now, daysOf(f.days)) && m.RenewedAs(d.file)
}

func reportDue(a *cli.App, list []dueLayout, due, damaged int) {
	if a.JSON {
		a.Object(map[string]any{"ok": due+damaged == 0, "due": due, "layouts": list})
		return
	}
	for _, d := range list {
		state := "lapses"
		switch {
		case d.Error != "":
			continue // told already
		case d.Lapsed:
			state = "LAPSED"
		case d.Due:
			state = "due, lapses"
		}
		line := fmt.Sprintf("%s: %s %s", d.Layout, state, d.Expires)
		if d.Renewed != "" {
			line += ", renewed in " + d.Renewed + ": sign it there, then put it in its place"
		}
		a.Println(line)
	}
}
