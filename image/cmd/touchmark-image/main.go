// Touchmark-image makes the board's image, signs it for secure boot, and reads
// a card back to compare it with the published build. docs/image/build.md
// describes what it makes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"touchmark/hostlink/hostd/api"
	"touchmark/image/verify"
)

// Exit codes.
const (
	exitOK    = 0
	exitFault = 1 // something did not work, or could not be read
	exitUsage = 2 // the command line
	exitOther = 3 // verify, repro: it is not the published build, the builds differ
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends what does not hear the first, say a device that never answers
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is one of the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errDiffer says that two builds differ.
var errDiffer = errors.New("the two builds differ")

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := &cobra.Command{
		Use:   "touchmark-image",
		Short: "Make, sign and check the image that a Touchmark board runs",
		Long: "Make, sign and check the image that a Touchmark board runs.\n\n" +
			"Exit codes: 0 done; 1 it did not work, or something could not be read; 2 the command line;\n" +
			"3 verify: it is not the published build, repro: the two builds differ.",
		Example: "  touchmark-image build --board rpi4 --key boot.pem\n" +
			"  touchmark-image verify --manifest build/image/rpi4/manifest.json /dev/sdX",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q (see 'touchmark-image --help')", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%w (see '%s --help')", err, c.CommandPath()) })
	root.AddCommand(buildCmd(), signCmd(), assembleCmd(), verifyCmd(), reproCmd())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	fmt.Fprintln(errs, "touchmark-image:", api.Printable(err.Error())) // names of files in it are whoever's who made them
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, verify.ErrOther), errors.Is(err, errDiffer):
		return exitOther
	}
	return exitFault
}
