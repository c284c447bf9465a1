// Command touchmark-appliance is the board's core: it enrols a token and a TPM
// into a log, and runs the signing ceremony.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not enrolled or already
// enrolled, 4 TPM, 5 token, 6 a policy that is not good.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/cli/ceremony"
	"touchmark/appliance/cli/policy"
	"touchmark/appliance/cli/status"
	"touchmark/appliance/cli/upkeep"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/update"
)

func main() {
	if err := sandbox.NoDumps(); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		os.Exit(cli.ExitFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if c, err := rootCommand().ExecuteContextC(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
		code := cli.ExitCode(err)
		if code == cli.ExitUsage {
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
	for _, c := range []*cobra.Command{runCommand(), ceremony.Enroll(), upkeep.Answer(), upkeep.LogKey(), ceremony.TokenKey(), upkeep.Restore(), status.Command(), policy.Command()} {
		root.AddCommand(cli.Begun(c))
	}
	return root
}
