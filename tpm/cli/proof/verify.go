package proof

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"touchmark/tpm/cli"
	"touchmark/tpm/cli/entry"
)

// VerifyCommand is "touchmark-audit verify-proof".
func VerifyCommand() *cobra.Command {
	var trust string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify-proof FILE.tmproof --trust DIR",
		Short: "Verify one proof and say what it proves",
		Long: `Verify that a proof's intent stands in the log under a checkpoint that the TPM
committed, and print the intent. That a file and its signature are those of the
intent is what 'touchmark verify FILE' compares.`,
		Example: `  touchmark-audit verify-proof demo.db.tar.gz.tmproof --trust trust`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyProof(cmd.OutOrStdout(), args[0], trust, asJSON)
		},
	}
	cli.TrustFlag(cmd, &trust)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the intent as JSON")
	return cmd
}

func verifyProof(out io.Writer, path, trust string, asJSON bool) error {
	tr, err := cli.ReadTrust(trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	p, err := cli.ReadProof(path)
	if err != nil {
		return cli.Unreadable(err)
	}
	intent, h, err := tr.VerifyProof(p)
	if err != nil {
		return cli.Exit(cli.Evidence, err.Error())
	}
	return entry.Print(out, h, intent, asJSON, "committed by the TPM, size "+fmt.Sprint(p.Size))
}
