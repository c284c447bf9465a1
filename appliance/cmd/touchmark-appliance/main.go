// Command touchmark-appliance is the board's core: it enrols a token and a TPM
// into a log, and runs the signing ceremony.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not enrolled or already
// enrolled, 4 TPM, 5 token.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"touchmark/appliance/piv"
	"touchmark/appliance/station"
	"touchmark/tpm/device"
)

func main() {
	if err := noDumps(); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := &cobra.Command{
		Use:           "touchmark-appliance",
		Short:         "The network-less signing appliance: enrol it, run it, ask how it is",
		Version:       station.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{err, c.CommandPath()} })
	root.AddCommand(runCommand(), enrollCommand(), answerCommand(), restoreCommand(), statusCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		os.Exit(exitCode(err))
	}
}

// noDumps keeps PIN and log key out of core dumps and away from debuggers of
// other users.
func noDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	return nil
}

type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (see '%s --help')", e.err, e.command) }

// exitCode sorts errors into the documented codes.
func exitCode(err error) int {
	var usage *usageError
	var command *device.CommandError
	var link *device.LinkError
	var token *piv.TokenError
	switch {
	case errors.As(err, &usage):
		return 2
	case errors.Is(err, errEnrolment):
		return 3
	case errors.As(err, &command), errors.As(err, &link), errors.Is(err, device.ErrHeadExists), errors.Is(err, device.ErrAKExists), errors.Is(err, device.ErrNoHead), errors.Is(err, device.ErrNoAK),
		errors.Is(err, device.ErrEndorsementLocked), errors.Is(err, device.ErrCredential):
		return 4
	case errors.As(err, &token), errors.Is(err, piv.ErrNoToken), errors.Is(err, piv.ErrBusy), errors.Is(err, piv.ErrLastTry):
		return 5
	}
	return 1
}

var errEnrolment = errors.New("enrolment")
