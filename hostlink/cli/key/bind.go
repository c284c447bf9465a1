package key

import (
	"bytes"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/hostlink/binding"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
)

// bindFlags are those of bind.
type bindFlags struct{ secret, passphrase, expires, out string }

// BindCommand is "touchmark bind".
func BindCommand(a *cli.App) *cobra.Command {
	var f bindFlags
	c := &cobra.Command{
		Use:   "bind --secret-key FILE --out CERT REQUEST",
		Short: "Have an offline primary key take a token's key for its signing subkey",
		Long: `For the owner of a primary OpenPGP key, on the machine where its secret half is:
take the key of a binding request for a signing subkey, and write the primary's
certificate with it. The token's key agreed by the administrators' order ('touchmark
order new cert --bind'), and the request comes from the log ('touchmark-audit
certificate --binding'); the secret half from 'gpg --export-secret-keys'.

Publish the certificate in the place of the key's own one. Before the subkey expires,
bind the same request again: the token is not needed for that. To end it, revoke the
subkey with the primary (gpg --edit-key), or order the key to revoke itself.`,
		Example: `  touchmark bind --secret-key secret.asc --passphrase-file pass --expires 2028-01-01T00:00:00Z --out release.asc packages.binding`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return bind(a, args[0], f) },
	}
	c.Flags().StringVar(&f.secret, "secret-key", "", "the primary's secret key, as gpg --export-secret-keys --armor writes it")
	c.Flags().StringVar(&f.passphrase, "passphrase-file", "", "file with the passphrase that opens it; the line's end does not count")
	c.Flags().StringVar(&f.expires, "expires", "never", "when the subkey expires: a time, or never")
	c.Flags().StringVar(&f.out, "out", "", "where to write the certificate, armored")
	return c
}

func bind(a *cli.App, request string, f bindFlags) error {
	if f.secret == "" || f.out == "" {
		return api.Errorf(api.Usage, "bind needs --secret-key and --out")
	}
	var expires time.Time
	var err error
	if f.expires != "never" {
		if expires, err = time.Parse(time.RFC3339, f.expires); err != nil {
			return api.Errorf(api.Usage, "--expires: %w", err)
		}
	}
	raw, err := api.ReadSmall(request, binding.MaxRequest)
	if err != nil {
		return api.Errorf(api.BadInput, "binding request: %w", err)
	}
	b, err := subkey.ParseBinding(raw)
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", request, err)
	}
	secret, err := api.ReadSmall(f.secret, binding.MaxSecret)
	if err != nil {
		return api.Errorf(api.BadInput, "secret key: %w", err)
	}
	defer clear(secret)
	pass, err := readPassphrase(f.passphrase)
	if err != nil {
		return err
	}
	defer clear(pass)
	cert, err := binding.Bind(b, secret, pass, time.Now().UTC().Truncate(time.Second), expires.UTC())
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", f.secret, err)
	}
	if err := output.Write(f.out, openpgp.Armor(cert), 0o644); err != nil {
		return err
	}
	if !a.JSON {
		fmt.Fprintf(a.Out, "%X is a signing subkey of %X\n", b.Key.Fingerprint(), b.Primary.Fingerprint())
	}
	a.Made(f.out)
	return nil
}

// readPassphrase reads the first line of a file, "" is none.
func readPassphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := api.ReadSmall(path, maxPassphrase)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "passphrase: %w", err)
	}
	return bytes.TrimRight(raw, "\r\n"), nil
}

// maxPassphrase bounds a passphrase: nobody types more.
const maxPassphrase = 1 << 10
