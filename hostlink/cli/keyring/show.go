package keyring

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/envelope"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/sshsig"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/keyring"
)

// showCommand prints what keyring export writes, one kind of it.
func showCommand(a *cli.App) *cobra.Command {
	var binary, fingerprint, ssh, pem, inToto bool
	var only []string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Print the keys of the trust file: OpenPGP certificates of those for files, or one other kind",
		Example: "  touchmark keyring show | gpg --import\n  touchmark keyring show --fingerprint\n  touchmark keyring show --ssh | sed 's/^/packager /' >> allowed_signers",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t, err := a.LoadTrust()
			if err != nil {
				return err
			}
			keys, err := keyring.Choose(t.Keys, only)
			if err != nil {
				return api.Errorf(api.Usage, "%w", err)
			}
			some := true
			switch {
			case a.JSON:
				for _, k := range keys {
					a.Object(map[string]any{"fingerprint": fmt.Sprintf("%X", k.Key.Fingerprint()), "user_id": k.UserID, "family": k.Family, "algorithm": k.Key.Algorithm(),
						"created": k.Key.Created.Format(time.RFC3339), "emulated": t.Emulated, "armored": string(openpgp.Armor(k.Bytes()))})
				}
			case fingerprint:
				for _, k := range keys {
					fmt.Fprintf(a.Out, "%X\n", k.Key.Fingerprint())
				}
			case ssh, pem:
				some, err = bareKeys(a, keys, ssh)
			case inToto:
				some, err = inTotoKeys(a, keys)
			default:
				some, err = certificates(a, keys, binary, len(only) > 0)
			}
			switch {
			case err != nil:
				return api.Errorf(api.CannotWrite, "%w", err)
			case !some:
				return api.Errorf(api.BadInput, "the trust file has no such key: --json lists those that it has")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&binary, "binary", false, "without ASCII armor")
	c.Flags().BoolVar(&ssh, "ssh", false, "the keys that are not for OpenPGP, a line each as SSH has them")
	c.Flags().BoolVar(&pem, "pem", false, "the keys that are not for OpenPGP, as PEM for openssl")
	c.Flags().BoolVar(&fingerprint, "fingerprint", false, "only the fingerprint")
	c.Flags().BoolVar(&inToto, "in-toto", false, "the EC and RSA keys that are not for OpenPGP, a line of JSON each as in-toto and securesystemslib have them")
	c.Flags().StringArrayVar(&only, "key", nil, "fingerprint of a key to print, once for each; one for in-toto's metadata too")
	c.MarkFlagsMutuallyExclusive("binary", "fingerprint", "ssh", "pem", "in-toto")
	return c
}

// certificates prints the OpenPGP certificates of keys for files; of all that were
// chosen. Were there none, it says so.
func certificates(a *cli.App, keys certificate.Keyring, binary, chosen bool) (some bool, err error) {
	var all []byte
	for _, k := range keys {
		if !k.Bare() && (chosen || k.Family == sigformat.FamilyOpenPGP) {
			all = append(all, k.Bytes()...)
		}
	}
	if !binary && len(all) > 0 {
		all = openpgp.Armor(all)
	}
	_, err = a.Out.Write(all)
	return len(all) > 0, err
}

// bareKeys prints the public keys that no OpenPGP certificate is of.
func bareKeys(a *cli.App, keys certificate.Keyring, ssh bool) (some bool, err error) {
	for _, k := range keys {
		if !k.Bare() {
			continue
		}
		text := []byte(sshsig.Public(k.Key) + "\n")
		if !ssh {
			der, err := x509.MarshalPKIXPublicKey(k.Key.Public)
			if err != nil {
				return false, err
			}
			text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		some = true
		if _, err := a.Out.Write(text); err != nil {
			return some, err
		}
	}
	return some, nil
}

// inTotoKeys prints those that files of in-toto and DSSE name by such an object.
func inTotoKeys(a *cli.App, keys certificate.Keyring) (some bool, err error) {
	for _, k := range keys {
		if o := envelope.SecureSystems(k.Key); o != nil && k.Bare() {
			var line bytes.Buffer
			if err := json.Compact(&line, strictjson.Text(o)); err != nil {
				return some, err
			}
			some = true
			if _, err := fmt.Fprintln(a.Out, line.String()); err != nil {
				return some, err
			}
		}
	}
	return some, nil
}
