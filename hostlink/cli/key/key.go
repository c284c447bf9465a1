// Package key is "touchmark key", keys of hosts, approvers and administrators, and
// "touchmark bind", with which the owner of an offline primary OpenPGP key takes a
// token's key for a signing subkey (hostlink/binding). Secret keys are read here
// and nowhere else in touchmark.
package key

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// Command is "touchmark key" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:     "key",
		Short:   "Keys of hosts, approvers and administrators",
		Example: "  touchmark key new --name repo1 --out /etc/touchmark/host.key\n  touchmark key show /etc/touchmark/host.key",
	}
	var name, out string
	create := &cobra.Command{
		Use:     "new --name NAME --out FILE",
		Short:   "Make a key: the private half into a file, the public half to standard output",
		Example: "  touchmark key new --name repo1 --out /etc/touchmark/host.key",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return newKey(a, name, out) },
	}
	create.Flags().StringVar(&name, "name", "", "name in the key, for example the host's")
	create.Flags().StringVar(&out, "out", "", "file for the private key; must not exist")
	show := &cobra.Command{
		Use:     "show FILE",
		Short:   "Print the public half of a private key",
		Example: "  touchmark key show /etc/touchmark/host.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, public, err := Read(args[0])
			if err == nil {
				publicKey(a, public)
			}
			return err
		},
	}
	c.AddCommand(create, show)
	return c
}

func newKey(a *cli.App, name, out string) error {
	if name == "" || out == "" {
		return api.Errorf(api.Usage, "key new needs --name and --out")
	}
	if _, err := os.Lstat(out); err == nil {
		return api.Errorf(api.BadInput, "%s exists: a key is never overwritten, move it away first", out)
	}
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return api.Errorf(api.Internal, "%w", err)
	}
	if _, err := message.ParseKey(public); err != nil {
		return api.Errorf(api.BadInput, "--name %q: use printable ASCII without spaces and plus signs", name)
	}
	if err := output.Write(out, []byte(private+"\n"), 0o600); err != nil {
		return err
	}
	publicKey(a, public)
	return nil
}

func publicKey(a *cli.App, key string) {
	if a.JSON {
		a.Object(map[string]any{"ok": true, "key": key})
		return
	}
	fmt.Fprintln(a.Out, key)
}

// Read reads a private note key and derives its public half.
func Read(path string) (note.Signer, string, error) {
	key, err := api.ReadKey(path)
	if err != nil {
		return nil, "", api.Errorf(api.BadInput, "key: %w", err)
	}
	s, public, err := message.ParseSigner(key)
	if err != nil {
		return nil, "", api.Errorf(api.BadInput, "key: %w", err)
	}
	return s, public, nil
}
