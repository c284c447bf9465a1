// Package intoto is "touchmark intoto": its command, and links, which record what a
// step made and are signed at once. Layouts are in the room below. What in-toto's
// files mean and how they are written is in hostlink/intoto.
package intoto

import (
	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/intoto/layout"
)

// Command is "touchmark intoto" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:     "intoto",
		Short:   "Make, check and sign in-toto's layouts and links",
		Long:    "What in-toto-verify and apt-transport-in-toto read: a layout says who must have rebuilt a package, and a link\nthat somebody did. Both are shown to the operator, by what they mean, before they are signed.",
		Example: "  touchmark intoto layout check root.layout",
	}
	c.AddCommand(layout.Command(a), linkCommand(a), layout.ResignCommand(a), layout.ClientCommand(a))
	return c
}
