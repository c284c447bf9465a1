package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
	"touchmark/tpm/ledgerstore/durable"
)

func trustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Check, make and sign versions of a trust file",
		Long: `A trust file says what a verifier pins. Its next version, with another log key,
certificate or administrators, is signed by a quorum of the administrators that
the present one names, or of its recovery keys, if all it changes is who the
administrators are (docs/spec/trust.md).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(trustCheckCommand(), trustNextCommand(), trustSignCommand())
	return cmd
}

func trustCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check OLD NEW",
		Short: "Whether a trust file may replace the one that is pinned",
		Long: `Say whether NEW is the version after OLD: signed by a quorum of OLD's
administrators, and different only in what may change. Exit codes: 0 it is, 2 it
is not, 3 something cannot be read, 4 wrong usage.`,
		Example: `  touchmark-audit trust check /etc/touchmark/trust /media/usb/trust`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := readTrust(args[0])
			if err != nil {
				return unreadable(err)
			}
			msg, err := readFile(args[1], anchor.MaxTrust)
			if err != nil {
				return unreadable(err)
			}
			next, err := old.Successor(msg)
			if err != nil {
				return &exitError{exitEvidence, err.Error()}
			}
			return sayTrust(cmd.OutOrStdout(), old, next, msg)
		},
	}
}

// sayTrust says what a version changes.
func sayTrust(out io.Writer, old, next *anchor.Trust, msg []byte) error {
	changes := []string{}
	if old.Recovers(msg) {
		changes = append(changes, "THE RECOVERY KEYS SIGNED IT, not the administrators: ask those whether they lost their keys")
	}
	if next.LogKey != old.LogKey {
		changes = append(changes, "log key "+next.LogKey)
	}
	for _, k := range append([]string{old.LogKey}, old.OldLogKeys...) {
		if k != next.LogKey && !slices.Contains(next.OldLogKeys, k) {
			changes = append(changes, "no longer good: what log key "+k+" signed")
		}
	}
	changes = append(changes, certChanges(old.Certs, next.Certs)...)
	if next.Quorum != old.Quorum || !slices.Equal(next.Administrators, old.Administrators) {
		changes = append(changes, fmt.Sprintf("%d of these administrators: %s", next.Quorum, strings.Join(next.Administrators, " ")))
	}
	if next.RecoveryQuorum != old.RecoveryQuorum || !slices.Equal(next.Recovery, old.Recovery) {
		changes = append(changes, fmt.Sprintf("%d of these recovery keys: %s", next.RecoveryQuorum, strings.Join(next.Recovery, " ")))
	}
	if len(changes) == 0 {
		changes = append(changes, "nothing but the version")
	}
	_, err := fmt.Fprintf(out, "version %d of the trust in %s follows version %d; it changes:\n  %s\n", next.Version, next.Origin, old.Version, strings.Join(changes, "\n  "))
	return err
}

// certChanges says which certificates are new, another one, or gone.
func certChanges(old, next [][]byte) (changes []string) {
	was, is := keysOf(old), keysOf(next)
	for fpr, cert := range is {
		switch before, ok := was[fpr]; {
		case !ok:
			changes = append(changes, "a further OpenPGP certificate, of key "+fpr)
		case !bytes.Equal(before, cert):
			changes = append(changes, "another OpenPGP certificate of key "+fpr)
		}
	}
	for fpr := range was {
		if _, ok := is[fpr]; !ok {
			changes = append(changes, "no longer good: what key "+fpr+" signed")
		}
	}
	slices.Sort(changes)
	return changes
}

// keysOf are certificates by the fingerprint of their keys; one that cannot be
// read is there by its own text.
func keysOf(certs [][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, b := range certs {
		name := fmt.Sprintf("unreadable %x", b)
		if c, err := certificate.Parse(b); err == nil {
			name = fmt.Sprintf("%X", c.Key.Fingerprint())
		}
		out[name] = b
	}
	return out
}

// trustNext is what the next version shall have; what is empty stays.
type trustNext struct {
	trust, out, logKey   string
	certs, dropKeys      []string
	tokenKeys            []string
	drop                 bool
	quorum, rquorum      int
	administrators, keys []string
	recovery             []string
}

func trustNextCommand() *cobra.Command {
	o := trustNext{}
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
	trustFlag(cmd, &o.trust)
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

func (o *trustNext) run(out io.Writer) error {
	old, err := readTrust(o.trust)
	if err != nil {
		return unreadable(err)
	}
	next, err := o.change(old)
	if err != nil {
		return unreadable(err)
	}
	msg, err := next.Sign()
	if err != nil {
		return unreadable(err)
	}
	for _, path := range o.keys {
		if msg, err = cosign(old, msg, path); err != nil {
			return unreadable(err)
		}
	}
	return writeTrust(out, old, msg, o.out)
}

func (o *trustNext) change(old *anchor.Trust) (*anchor.Trust, error) {
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
func (o *trustNext) changeCerts(next *anchor.Trust) error {
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
		b, err := readFile(path, ledger.MaxCert)
		if err == nil {
			err = putCert(next, b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, path := range o.tokenKeys {
		b, err := readFile(path, tokenkey.MaxRecord)
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

func trustSignCommand() *cobra.Command {
	var trust string
	var keys []string
	cmd := &cobra.Command{
		Use:   "sign NEW --trust OLD --key KEYFILE...",
		Short: "Sign the next version of a trust file",
		Long: `Add signatures to a next version that another administrator made, after checking
that it follows the pinned one.`,
		Example: `  touchmark-audit trust sign next --trust trust --key admin2.key`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := readTrust(trust)
			if err != nil {
				return unreadable(err)
			}
			msg, err := readFile(args[0], anchor.MaxTrust)
			if err != nil {
				return unreadable(err)
			}
			for _, path := range keys {
				if msg, err = cosign(old, msg, path); err != nil {
					return unreadable(err)
				}
			}
			return writeTrust(cmd.OutOrStdout(), old, msg, args[0])
		},
	}
	trustFlag(cmd, &trust)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "key file of an administrator, or of recovery, of the present version")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// cosign adds the signature of a key file's key, which must be one of the
// present administrators' or of recovery.
func cosign(old *anchor.Trust, msg []byte, path string) ([]byte, error) {
	raw, err := readFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	signer, err := note.NewSigner(string(bytes.TrimSpace(raw)))
	if err != nil {
		return nil, fmt.Errorf(`%s is not a private note key, as "touchmark key new" writes it`, path)
	}
	id := fmt.Sprintf("%s+%08x+", signer.Name(), signer.KeyHash())
	if !slices.ContainsFunc(slices.Concat(old.Administrators, old.Recovery), func(a string) bool { return strings.HasPrefix(a, id) }) {
		return nil, fmt.Errorf("%s: its key is none of the administrators, nor of recovery, in version %d", path, old.Version)
	}
	return message.CosignNote(msg, signer)
}

// writeTrust writes the next version and says what it lacks, if anything.
func writeTrust(out io.Writer, old *anchor.Trust, msg []byte, path string) error {
	next, err := old.Successor(msg)
	if errors.Is(err, message.ErrTooFew) {
		needed := old.Quorum
		if old.Recovers(msg) {
			needed = old.RecoveryQuorum
		}
		if err = durable.WriteFile(path, msg, 0o644); err == nil {
			_, err = fmt.Fprintf(out, "%s: not enough signatures yet, %d are needed: touchmark-audit trust sign\n", path, needed)
		}
	} else if err == nil {
		if err = durable.WriteFile(path, msg, 0o644); err == nil {
			err = sayTrust(out, old, next, msg)
		}
	}
	if err != nil {
		return unreadable(err)
	}
	return nil
}

// maxKeyFile bounds a file with one private note key, in bytes.
const maxKeyFile = 4 << 10
