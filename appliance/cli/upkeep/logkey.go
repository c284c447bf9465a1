package upkeep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/sealed"
)

// LogKey is log-key.
func LogKey() *cobra.Command {
	c := &cobra.Command{
		Use:   "log-key",
		Short: "Make the log key that is to come, show those that are there",
		Long: `The log key signs checkpoints. To replace it: make the next one here ('log-key
new'), have the administrators order it ('touchmark order new key'), bring the
order to the running board, arm it. The board signs with the new key from that
commit on and REMOVES THE OLD PRIVATE KEY. Then the administrators make the next
version of the trust file ('touchmark-audit trust next').`,
		Example: `  touchmark-appliance log-key new --dir /data/touchmark --backup-recipient age1... --backup-out /media/admin/log.key.age
  touchmark-appliance log-key show --dir /data/touchmark --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(cli.Begun(newLogKeyCommand()), cli.Begun(showLogKeyCommand()))
	return c
}

type newLogKeyFlags struct {
	dir, origin, out string
	recipients       []string
	json             bool
}

func newLogKeyCommand() *cobra.Command {
	var f newLogKeyFlags
	c := &cobra.Command{
		Use:   "new --dir DIR --origin ORIGIN",
		Short: "Make the next log key; the board goes on with the present one until it is ordered",
		Long: `Make a log key beside the present one and print its verifier key, which the
administrators' order must name. One that was made before and is not in force yet
is kept: the same is printed again. The board may run meanwhile.

--backup-recipient encrypts a copy to administrators ('restore-log-key' puts it
back). Without a copy, a lost disk means another order for another key.`,
		Example: `  touchmark-appliance log-key new --dir /data/touchmark --origin packages.example/log \
      --backup-recipient age1... --backup-out /media/admin/log.key.age`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return newLogKey(c.OutOrStdout(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "data directory made by enroll")
	flags.StringVar(&f.origin, "origin", "", "name of the log, as the trust file has it (default: that of the present key)")
	flags.StringArrayVar(&f.recipients, "backup-recipient", nil, "encrypt a copy to this age recipient, age1... (repeatable)")
	flags.StringVar(&f.out, "backup-out", "", "where the encrypted copy goes; not overwritten")
	flags.BoolVar(&f.json, "json", false, "as JSON")
	cli.Required(c, "dir")
	c.MarkFlagsRequiredTogether("backup-recipient", "backup-out")
	return c
}

func newLogKey(w io.Writer, f newLogKeyFlags) error {
	to, err := sealed.ParseRecipients(f.recipients)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	ring := logkey.Ring{Dir: f.dir}
	present, err := logkey.Read(f.dir)
	switch {
	case err == nil && f.origin == "":
		f.origin = present.Name()
	case err == nil && f.origin != present.Name():
		return fmt.Errorf("this board's log is %s, not %s", present.Name(), f.origin)
	case !errors.Is(err, fs.ErrNotExist) && err != nil:
		return err
	case err != nil && f.origin == "":
		return fmt.Errorf("%w: %w (if the key is lost, name the log with --origin)", cli.ErrEnrolment, err)
	}
	if err := absent(f.out); err != nil {
		return err
	}
	next, err := ring.MakeNext(f.origin)
	if err != nil {
		return err
	}
	if err := backUp(next, f.out, to); err != nil {
		return err
	}
	return showKeys(w, ring, f.json)
}

// absent refuses to overwrite the copy of another key.
func absent(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: a backup is not overwritten", path)
	}
	return nil
}

func backUp(k *logkey.Key, path string, to []age.Recipient) error {
	if path == "" {
		return nil
	}
	return k.BackUp(path, to)
}

func showLogKeyCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:     "show --dir DIR",
		Short:   "The verifier keys of the log keys on this board",
		Example: "  touchmark-appliance log-key show --dir /data/touchmark --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return showKeys(c.OutOrStdout(), logkey.Ring{Dir: dir}, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "data directory made by enroll")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cli.Required(c, "dir")
	return c
}

// keysShown is what log-key prints: verifier keys, "" for none.
type keysShown struct {
	Present string `json:"present"` // the file log.key
	Next    string `json:"next"`    // the file log.key.next
}

func showKeys(w io.Writer, ring logkey.Ring, asJSON bool) error {
	var v keysShown
	for _, k := range []struct {
		read func() (*logkey.Key, error)
		into *string
	}{{func() (*logkey.Key, error) { return logkey.Read(ring.Dir) }, &v.Present}, {ring.Next, &v.Next}} {
		key, err := k.read()
		if err == nil {
			*k.into = key.Public
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if v == (keysShown{}) {
		return fmt.Errorf("%w: no log key in %s", cli.ErrEnrolment, ring.Dir)
	}
	if asJSON {
		return json.NewEncoder(w).Encode(v)
	}
	orNone := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	_, err := fmt.Fprintf(w, "present %s\nnext    %s\n", orNone(v.Present), orNone(v.Next))
	return err
}
