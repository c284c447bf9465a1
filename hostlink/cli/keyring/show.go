package keyring

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/keyring"
)

// showFlags are those of show.
type showFlags struct {
	only                                  []string
	binary, fingerprint, ssh, pem, inToto bool
}

// showCommand prints what keyring export writes, one kind of it.
func showCommand(a *cli.App) *cobra.Command {
	var f showFlags
	c := &cobra.Command{
		Use:     "show",
		Short:   "Print the keys of the trust file: OpenPGP certificates of those for files, or one other kind",
		Example: "  touchmark keyring show | gpg --import\n  touchmark keyring show --fingerprint\n  touchmark keyring show --ssh | sed 's/^/packager /' >> allowed_signers",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return show(a, &f) },
	}
	c.Flags().BoolVar(&f.binary, "binary", false, "without ASCII armor")
	c.Flags().BoolVar(&f.ssh, "ssh", false, "the keys that are not for OpenPGP, a line each as SSH has them")
	c.Flags().BoolVar(&f.pem, "pem", false, "the keys that are not for OpenPGP, as PEM for openssl")
	c.Flags().BoolVar(&f.fingerprint, "fingerprint", false, "only the fingerprint")
	c.Flags().BoolVar(&f.inToto, "in-toto", false, "the EC and RSA keys that are not for OpenPGP, a line of JSON each as in-toto and securesystemslib have them")
	c.Flags().StringArrayVar(&f.only, "key", nil, "fingerprint of a key to print, once for each; one for in-toto's metadata too")
	c.MarkFlagsMutuallyExclusive("binary", "fingerprint", "ssh", "pem", "in-toto")
	return c
}

func show(a *cli.App, f *showFlags) error {
	t, err := a.LoadTrust()
	if err != nil {
		return err
	}
	keys, err := keyring.Choose(t.Keys, f.only)
	if err != nil {
		return api.Errorf(api.Usage, "%w", err)
	}
	if a.JSON {
		for _, k := range keys {
			a.Object(described(k, t.Emulated))
		}
		return nil
	}
	if f.fingerprint {
		for _, k := range keys {
			fmt.Fprintf(a.Out, "%X\n", k.Key.Fingerprint())
		}
		return nil
	}
	text, err := f.text(keys)
	if err == nil {
		_, err = a.Out.Write(text)
	}
	switch {
	case err != nil:
		return api.Errorf(api.CannotWrite, "%w", err)
	case len(text) == 0:
		return api.Errorf(api.BadInput, "the trust file has no such key: --json lists those that it has")
	}
	return nil
}

// text is what is printed of the keys, empty if none is of the kind.
func (f *showFlags) text(keys certificate.Keyring) ([]byte, error) {
	switch {
	case f.ssh:
		return keyring.SSH(keys), nil
	case f.pem:
		return keyring.PEM(keys)
	case f.inToto:
		return keyring.InToto(keys)
	}
	return keyring.Certificates(keys, len(f.only) > 0, f.binary), nil
}

// described is a key as --json shows it.
func described(k *certificate.Certificate, emulated bool) map[string]any {
	return map[string]any{
		"fingerprint": fmt.Sprintf("%X", k.Key.Fingerprint()), "user_id": k.UserID, "family": k.Family, "algorithm": k.Key.Algorithm(),
		"created": k.Key.Created.Format(time.RFC3339), "emulated": emulated, "armored": string(openpgp.Armor(k.Bytes())),
	}
}
