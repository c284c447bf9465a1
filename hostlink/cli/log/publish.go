package log

import (
	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
)

// PublishCommand is "touchmark publish".
func PublishCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "publish",
		Short:   "Bring the published log up to date and wait for it",
		Example: "  touchmark publish",
		Long:    "touchmark-hostd publishes by itself, shortly after each signature. This waits until it has.",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.Ask(&api.Request{Op: api.OpPublish})
			return err
		},
	}
}
