package upkeep

import (
	"os"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol/stopped"
)

// Restore is restore-log-key.
func Restore() *cobra.Command {
	var dir, backup, identity string
	c := &cobra.Command{
		Use:   "restore-log-key --dir DIR --backup FILE --identity FILE",
		Short: "Put the log key back from the administrators' backup",
		Long: `Decrypt log.key.age, which 'enroll --backup-recipient' wrote, with an age identity
of an administrator's and put the log key into a data directory that has lost it.
A key that is there is not overwritten: if it is another one, such as the key of
before on a disk that was rolled back, this one goes beside it, and the log says
which of them signs.`,
		Example: `  touchmark-appliance restore-log-key --dir /data/touchmark --backup /media/usb/trust/log.key.age --identity /media/admin/age.key`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := os.Open(identity)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			return stopped.RestoreLogKey(dir, backup, f)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "data directory that lacks the log key")
	c.Flags().StringVar(&backup, "backup", "", "the encrypted log key")
	c.Flags().StringVar(&identity, "identity", "", "file with an age identity (age-keygen)")
	cli.Required(c, "dir", "backup", "identity")
	return c
}
