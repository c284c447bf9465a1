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
)

// Exit codes, documented in docs/spec/audit.md.
const (
	exitClean    = 0
	exitWarnings = 1
	exitEvidence = 2
	exitUnknown  = 3
	exitUsage    = 4
)

// exitError carries an exit code; an empty text was said already.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func unreadable(err error) error { return &exitError{exitUnknown, err.Error()} }

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
	var exit *exitError
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &exit):
		if exit.text != "" {
			fmt.Fprintln(stderr, "touchmark-audit:", exit.text)
		}
		return exit.code
	}
	fmt.Fprintf(stderr, "touchmark-audit: %v\nTry '%s --help'.\n", err, c.CommandPath())
	return exitUsage
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
	root.AddCommand(verifyCommand(), proveCommand(), proofCommand(), publishedCommand(), diffCommand(), challengeCommand(), activateCommand(), trustCommand(),
		showCommand(), exportCommand(), certificateCommand(), manual.Command())
	return root
}
