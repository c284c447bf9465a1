// Command touchmark-appliance is the board's core: it enrols a token and a TPM
// into a log, and runs the signing ceremony.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not enrolled or already
// enrolled, 4 TPM, 5 token, 6 a policy that is not good.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"touchmark/appliance/enrol"
	"touchmark/appliance/piv"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/update"
	"touchmark/tpm/device"
)

func main() {
	if err := sandbox.NoDumps(); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		os.Exit(exitFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if c, err := rootCommand().ExecuteContextC(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		code := exitCode(err)
		if code == exitUsage {
			fmt.Fprintf(os.Stderr, "Try '%s --help'.\n", c.CommandPath())
		}
		os.Exit(code)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "touchmark-appliance",
		Short: "The network-less signing appliance: enrol it, run it, ask how it is",
		Long: `The board's core. 'enroll' is the key ceremony, once; 'run' then serves a
repository host. The other commands are for administrators and auditors who
stand at the board.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not enrolled or already enrolled,
4 the TPM, 5 the token, 6 a policy that is not good.`,
		Example: `  touchmark-appliance enroll --help
  touchmark-appliance run --dir /data/touchmark --device /dev/ttyGS0`,
		Version:       update.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	for _, c := range []*cobra.Command{runCommand(), enrollCommand(), answerCommand(), logKeyCommand(), tokenKeyCommand(), restoreCommand(), statusCommand(), policyCommand()} {
		root.AddCommand(begun(c))
	}
	return root
}

// begun marks the errors of a command that ran: all others are about how it was
// called.
func begun(c *cobra.Command) *cobra.Command {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if err := do(c, args); err != nil {
				return &runError{err}
			}
			return nil
		}
	}
	return c
}

// runError is an error of a command that ran.
type runError struct{ error }

func (e *runError) Unwrap() error { return e.error }

// usageError is an argument that only the command itself can find wrong.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

// The exit codes.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitEnrolment = 3
	exitTPM       = 4
	exitToken     = 5
	exitPolicy    = 6
)

// exitCode sorts errors into the documented codes.
func exitCode(err error) int {
	var ran *runError
	var usage *usageError
	var command *device.CommandError
	var link *device.LinkError
	var token *piv.TokenError
	switch {
	case !errors.As(err, &ran), errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errPolicy):
		return exitPolicy
	case errors.Is(err, errEnrolment), errors.Is(err, enrol.ErrEnrolled):
		return exitEnrolment
	case errors.As(err, &command), errors.As(err, &link), isAny(err, errTPM, device.ErrHeadExists, device.ErrAKExists, device.ErrNoHead, device.ErrNoAK,
		device.ErrEndorsementLocked, device.ErrCredential, device.ErrAuthSet, device.ErrPlatformLocked):
		return exitTPM
	case errors.As(err, &token), isAny(err, piv.ErrNoToken, piv.ErrBusy, piv.ErrLastTry, piv.ErrSlotInUse, piv.ErrEmptySlot):
		return exitToken
	}
	return exitFailed
}

func isAny(err error, of ...error) bool {
	for _, e := range of {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

var (
	errEnrolment = errors.New("enrolment")
	errTPM       = errors.New("the TPM")
)

// openTPM opens the TPM that --tpm names.
func openTPM(spec string) (*device.TPM, error) {
	t, err := device.Open(spec)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (name it with --tpm)", errTPM, err)
	}
	return t, nil
}
