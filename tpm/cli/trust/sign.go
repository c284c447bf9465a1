package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/cli"
	"touchmark/tpm/ledgerstore/durable"
)

func signCommand() *cobra.Command {
	var trust string
	var keys []string
	cmd := &cobra.Command{
		Use:   "sign NEW --trust OLD --key KEYFILE...",
		Short: "Sign the next version of a trust file",
		Long: `Add signatures to a next version that another administrator made, after checking
that it follows the pinned one.`,
		Example: `  touchmark-audit trust sign next --trust trust --key admin2.key`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := cli.ReadTrust(trust)
			if err != nil {
				return cli.Unreadable(err)
			}
			msg, err := cli.ReadFile(args[0], anchor.MaxTrust)
			if err != nil {
				return cli.Unreadable(err)
			}
			for _, path := range keys {
				if msg, err = cosign(old, msg, path); err != nil {
					return cli.Unreadable(err)
				}
			}
			return write(cmd.OutOrStdout(), old, msg, args[0])
		},
	}
	cli.TrustFlag(cmd, &trust)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "key file of an administrator, or of recovery, of the present version")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// cosign adds the signature of a key file's key, which must be one of the
// present administrators' or of recovery.
func cosign(old *anchor.Trust, msg []byte, path string) ([]byte, error) {
	raw, err := cli.ReadFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	signer, err := note.NewSigner(string(bytes.TrimSpace(raw)))
	if err != nil {
		return nil, fmt.Errorf(`%s is not a private note key, as "touchmark key new" writes it`, path)
	}
	id := fmt.Sprintf("%s+%08x+", signer.Name(), signer.KeyHash())
	if !slices.ContainsFunc(slices.Concat(old.Administrators, old.Recovery), func(a string) bool { return strings.HasPrefix(a, id) }) {
		return nil, fmt.Errorf("%s: its key is none of the administrators, nor of recovery, in version %d", path, old.Version)
	}
	return message.CosignNote(msg, signer)
}

// write writes the next version and says what it lacks, if anything.
func write(out io.Writer, old *anchor.Trust, msg []byte, path string) error {
	next, err := old.Successor(msg)
	if errors.Is(err, message.ErrTooFew) {
		needed := old.Quorum
		if old.Recovers(msg) {
			needed = old.RecoveryQuorum
		}
		if err = durable.WriteFile(path, msg, 0o644); err == nil {
			_, err = fmt.Fprintf(out, "%s: not enough signatures yet, %d are needed: touchmark-audit trust sign\n", path, needed)
		}
	} else if err == nil {
		if err = durable.WriteFile(path, msg, 0o644); err == nil {
			err = say(out, old, next, msg)
		}
	}
	if err != nil {
		return cli.Unreadable(err)
	}
	return nil
}

// maxKeyFile bounds a file with one private note key, in bytes.
const maxKeyFile = 4 << 10
