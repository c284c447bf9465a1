// Package trust is "touchmark-audit trust": versions of a trust file are checked, made
// and signed. What a version may change is tpm/anchor's to say.
package trust

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/cli"
)

// Command is "touchmark-audit trust" with what is below it.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Check, make and sign versions of a trust file",
		Long: `A trust file says what a verifier pins. Its next version, with another log key,
certificate or administrators, is signed by a quorum of the administrators that
the present one names, or of its recovery keys, if all it changes is who the
administrators are (docs/spec/trust.md).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkCommand(), nextCommand(), signCommand())
	return cmd
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check OLD NEW",
		Short: "Whether a trust file may replace the one that is pinned",
		Long: `Say whether NEW is the version after OLD: signed by a quorum of OLD's
administrators, and different only in what may change. Exit codes: 0 it is, 2 it
is not, 3 something cannot be read, 4 wrong usage.`,
		Example: `  touchmark-audit trust check /etc/touchmark/trust /media/usb/trust`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := cli.ReadTrust(args[0])
			if err != nil {
				return cli.Unreadable(err)
			}
			msg, err := cli.ReadFile(args[1], anchor.MaxTrust)
			if err != nil {
				return cli.Unreadable(err)
			}
			next, err := old.Successor(msg)
			if err != nil {
				return cli.Exit(cli.Evidence, err.Error())
			}
			return say(cmd.OutOrStdout(), old, next, msg)
		},
	}
}

// say says what a version changes.
func say(out io.Writer, old, next *anchor.Trust, msg []byte) error {
	changes := []string{}
	if old.Recovers(msg) {
		changes = append(changes, "THE RECOVERY KEYS SIGNED IT, not the administrators: ask those whether they lost their keys")
	}
	if next.LogKey != old.LogKey {
		changes = append(changes, "log key "+next.LogKey)
	}
	for _, k := range append([]string{old.LogKey}, old.OldLogKeys...) {
		if k != next.LogKey && !slices.Contains(next.OldLogKeys, k) {
			changes = append(changes, "no longer good: what log key "+k+" signed")
		}
	}
	changes = append(changes, certChanges(old.Certs, next.Certs)...)
	if next.Quorum != old.Quorum || !slices.Equal(next.Administrators, old.Administrators) {
		changes = append(changes, fmt.Sprintf("%d of these administrators: %s", next.Quorum, strings.Join(next.Administrators, " ")))
	}
	if next.RecoveryQuorum != old.RecoveryQuorum || !slices.Equal(next.Recovery, old.Recovery) {
		changes = append(changes, fmt.Sprintf("%d of these recovery keys: %s", next.RecoveryQuorum, strings.Join(next.Recovery, " ")))
	}
	if len(changes) == 0 {
		changes = append(changes, "nothing but the version")
	}
	_, err := fmt.Fprintf(out, "version %d of the trust in %s follows version %d; it changes:\n  %s\n", next.Version, next.Origin, old.Version, strings.Join(changes, "\n  "))
	return err
}

// certChanges says which certificates are new, another one, or gone.
func certChanges(old, next [][]byte) (changes []string) {
	was, is := keysOf(old), keysOf(next)
	for fpr, cert := range is {
		switch before, ok := was[fpr]; {
		case !ok:
			changes = append(changes, "a further OpenPGP certificate, of key "+fpr)
		case !bytes.Equal(before, cert):
			changes = append(changes, "another OpenPGP certificate of key "+fpr)
		}
	}
	for fpr := range was {
		if _, ok := is[fpr]; !ok {
			changes = append(changes, "no longer good: what key "+fpr+" signed")
		}
	}
	slices.Sort(changes)
	return changes
}

// keysOf are certificates by the fingerprint of their keys; one that cannot be
// read is there by its own text.
func keysOf(certs [][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, b := range certs {
		name := fmt.Sprintf("unreadable %x", b)
		if c, err := certificate.Parse(b); err == nil {
			name = fmt.Sprintf("%X", c.Key.Fingerprint())
		}
		out[name] = b
	}
	return out
}
