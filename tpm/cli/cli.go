// Package cli is what the commands of touchmark-audit share: exit codes, what they read
// of trust files and proofs, printing for programs. The rooms below it hold the
// commands, one room for each topic. There is no code for devices, serial lines
// or tokens in any of them, and files that they read may be anybody's.
//
// A command's error is an ExitError; another one is a wrong call (Usage).
package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes, documented in docs/spec/audit.md.
const (
	Clean    = 0
	Warnings = 1
	Evidence = 2 // of tampering, or an invalid proof
	Unknown  = 3 // something cannot be read: there is no verdict
	Usage    = 4
)

// ExitError carries an exit code; an empty text was said already.
type ExitError struct {
	Code int
	Text string
}

func (e *ExitError) Error() string { return e.Text }

// Exit ends the command with a code. An empty text was said already.
func Exit(code int, text string) error { return &ExitError{code, text} }

// Unreadable ends the command because something could not be read, or written: there is
// no verdict.
func Unreadable(err error) error { return Exit(Unknown, err.Error()) }

// PrintJSON prints an object on one line.
func PrintJSON(out io.Writer, v any) error {
	if err := json.NewEncoder(out).Encode(v); err != nil {
		return Unreadable(err)
	}
	return nil
}

// TrustFlag gives a command the flag --trust, without which it is not called.
func TrustFlag(cmd *cobra.Command, trust *string) {
	cmd.Flags().StringVar(trust, "trust", "", "trust directory from the enrolment")
	if err := cmd.MarkFlagRequired("trust"); err != nil {
		panic(err) // the flag is defined one line above
	}
}
