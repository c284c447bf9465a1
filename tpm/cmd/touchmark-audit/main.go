// Command touchmark-audit checks a published Touchmark log, offline, with
// nothing but the directory that a host publishes and the trust directory from
// the enrolment. It has no code for devices, serial lines or tokens.
//
// Exit codes: 0 clean, 1 warnings, 2 evidence of tampering or an invalid
// proof, 3 the log, trust or proof cannot be read, 4 wrong usage.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"touchmark/hostlink/manpage"
	"touchmark/tpm/cli"
	"touchmark/tpm/cli/challenge"
	"touchmark/tpm/cli/diff"
	"touchmark/tpm/cli/entry"
	"touchmark/tpm/cli/proof"
	"touchmark/tpm/cli/published"
	"touchmark/tpm/cli/trust"
	"touchmark/tpm/cli/verify"
)

// gcPercent has the garbage collector run half as often as it would by itself:
// what an audit keeps is a few MiB, and the rest is rubbish at once.
const gcPercent = 200

func main() {
	debug.SetGCPercent(gcPercent)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteC()
	var ended *cli.ExitError
	switch {
	case err == nil:
		return cli.Clean
	case errors.As(err, &ended):
		if ended.Text != "" {
			fmt.Fprintln(stderr, "touchmark-audit:", ended.Text)
		}
		return ended.Code
	}
	fmt.Fprintf(stderr, "touchmark-audit: %v\nTry '%s --help'.\n", err, c.CommandPath())
	return cli.Usage
}

// manual is what the manual page says besides the commands.
var manual = manpage.Page{Name: "touchmark-audit", Section: 1, SeeAlso: []string{"touchmark(1)", "touchmark-hostd(8)"}}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "touchmark-audit",
		Short:         "Check a published Touchmark log, offline",
		Version:       manpage.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Long: `Check a published Touchmark log, offline.

Exit codes: 0 clean, 1 warnings, 2 evidence of tampering or an invalid proof,
3 something cannot be read so there is no verdict, 4 wrong usage.`,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(verify.Command(), proof.ProveCommand(), proof.VerifyCommand(), published.Command(), diff.Command(), challenge.Command(), challenge.ActivateCommand(), trust.Command(),
		entry.ShowCommand(), entry.ExportCommand(), verify.CertificateCommand(), manual.Command())
	return root
}
