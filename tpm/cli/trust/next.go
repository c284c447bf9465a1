package trust

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/cli"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
)

// nextOptions is what the next version shall have; what is empty stays.
type nextOptions struct {
	trust, out, logKey   string
	certs, dropKeys      []string
	tokenKeys            []string
	drop                 bool
	quorum, rquorum      int
	administrators, keys []string
	recovery             []string
}

func nextCommand() *cobra.Command {
	o := nextOptions{}
	cmd := &cobra.Command{
		Use:   "next --trust OLD --out NEW [changes] [--key KEYFILE]...",
		Short: "Make the next version of a trust file and sign it",
		Long: `Make the next version of a trust file. What no flag names stays as it is. The
keys are note keys of administrators of the present version, as
"touchmark key new" writes them; others sign later with "trust sign". Where the
administrators' keys are lost, the present version's recovery keys sign in their
place, and name nothing but other administrators.`,
		Example: `  touchmark-audit trust next --trust trust --log-key "$(cat log.vkey)" --key admin1.key --out next
  touchmark-audit trust sign next --trust trust --key admin2.key
  touchmark-audit trust check trust next`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.OutOrStdout()) },
	}
	cli.TrustFlag(cmd, &o.trust)
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "file to write")
	f.StringVar(&o.logKey, "log-key", "", "log key that signs checkpoints from now on; the present one becomes an old one")
	f.BoolVar(&o.drop, "drop-old-log-keys", false, "what old log keys signed is no longer good")
	f.StringArrayVar(&o.certs, "cert", nil, "file of an OpenPGP certificate, binary, once for each; it takes the place of the present one of its key, or is a further one")
	f.StringArrayVar(&o.tokenKeys, "token-key", nil, "record of a token's key that joins the log, as touchmark-appliance token-key new writes it, once for each")
	f.StringArrayVar(&o.dropKeys, "drop-cert", nil, "fingerprint of a key: what it signed is no longer good")
	f.IntVar(&o.quorum, "quorum", 0, "how many administrators sign the version after")
	f.StringArrayVar(&o.administrators, "administrator", nil, "note key of an administrator, once for each; they take the place of the present ones")
	f.IntVar(&o.rquorum, "recovery-quorum", 0, "how many recovery keys may replace the administrators")
	f.StringArrayVar(&o.recovery, "recovery", nil, "note key of recovery, once for each; they take the place of the present ones")
	f.StringArrayVar(&o.keys, "key", nil, "key file of an administrator, or of recovery, of the present version")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

func (o *nextOptions) run(out io.Writer) error {
	old, err := cli.ReadTrust(o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	next, err := o.change(old)
	if err != nil {
		return cli.Unreadable(err)
	}
	msg, err := next.Sign()
	if err != nil {
		return cli.Unreadable(err)
	}
	for _, path := range o.keys {
		if msg, err = cosign(old, msg, path); err != nil {
			return cli.Unreadable(err)
		}
	}
	return write(out, old, msg, o.out)
}

func (o *nextOptions) change(old *anchor.Trust) (*anchor.Trust, error) {
	next := *old
	next.Version, next.Previous = old.Version+1, old.Hash()
	if o.logKey != "" {
		next.LogKey, next.OldLogKeys = o.logKey, append([]string{old.LogKey}, old.OldLogKeys...)
	}
	if o.drop {
		next.OldLogKeys = nil
	}
	if err := o.changeCerts(&next); err != nil {
		return nil, err
	}
	if o.administrators != nil {
		next.Administrators = o.administrators
	}
	if o.quorum != 0 {
		next.Quorum = o.quorum
	}
	if o.recovery != nil {
		next.Recovery = o.recovery
	}
	if o.rquorum != 0 {
		next.RecoveryQuorum = o.rquorum
	}
	return &next, nil
}

// changeCerts leaves out the certificates of dropped keys and takes up others.
func (o *nextOptions) changeCerts(next *anchor.Trust) error {
	next.Certs = slices.Clone(next.Certs)
	for _, fpr := range o.dropKeys {
		n := len(next.Certs)
		next.Certs = slices.DeleteFunc(next.Certs, func(b []byte) bool {
			c, err := certificate.Parse(b)
			return err == nil && strings.EqualFold(fmt.Sprintf("%x", c.Key.Fingerprint()), fpr)
		})
		if len(next.Certs) == n {
			return fmt.Errorf("--drop-cert: the trust has no certificate of key %s", fpr)
		}
	}
	for _, path := range o.certs {
		b, err := cli.ReadFile(path, ledger.MaxCert)
		if err == nil {
			err = putCert(next, b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, path := range o.tokenKeys {
		b, err := cli.ReadFile(path, tokenkey.MaxRecord)
		if err != nil {
			return err
		}
		k, err := tokenkey.Parse(b)
		if err == nil {
			err = putCert(next, k.Cert)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// putCert has a certificate take the place of the present one of its key, or be
// a further one.
func putCert(next *anchor.Trust, b []byte) error {
	c, err := certificate.Parse(b)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(next.Certs, func(have []byte) bool {
		h, err := certificate.Parse(have)
		return err == nil && h.Key.Fingerprint() == c.Key.Fingerprint()
	})
	if i < 0 {
		next.Certs = append(next.Certs, b)
	} else {
		next.Certs[i] = b
	}
	return nil
}
