package ceremony

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol"
	"touchmark/tpm/ledger/tokenkey"
	"touchmark/tpm/ledgerstore/durable"
)

type tokenKeyFlags struct {
	policy, name, uid, out     string
	managed, identity          string
	keep                       keepFlags
	replace, throwaway, setPIN bool
	panel                      cli.PanelFlags
	token                      cli.TokenFlags
}

// TokenKey is token-key.
func TokenKey() *cobra.Command {
	c := &cobra.Command{
		Use:   "token-key",
		Short: "A further token for a log that runs: a spare, or the next one",
		Long: `A log signs with the keys of one token or several. A further one joins it by the
administrators' order: a policy with a [[key]] table for it comes into force; a
token makes the key ('token-key new'); hosts and auditors get the next trust file,
with its certificate ('touchmark-audit trust next --token-key'); the administrators
order it ('touchmark order new key --token-key') and the operator arms that.`,
		Example: `  touchmark-appliance token-key new --policy policy.note --name spare --uid "Example Packages <packages@example.org>" --out spare.key`,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(cli.Begun(newTokenKeyCommand()))
	return c
}

func newTokenKeyCommand() *cobra.Command {
	var f tokenKeyFlags
	c := &cobra.Command{
		Use:   "new --policy NOTE --name KEY --out FILE",
		Short: "Have a token make a key that is to join a log",
		Long: `Have the token that is plugged in make the key that the policy's [[key]] table of
this name describes (touch policy always, PIN policy once) and, by a touch, its
certificate, and write its record: what the administrators' order says of it,
attestation included. Nothing of it is secret. This needs no log and no TPM: any
machine will do, and a board whose appliance does not run meanwhile.

One that was cut short is begun again: --replace-key destroys the key in the slot,
which nobody has ordered yet. Write down the fingerprint that is shown and compare
it on the board when the order comes.`,
		Example: `  touchmark-appliance token-key new --policy policy.note --name spare \
      --uid "Example Packages <packages@example.org>" --set-pin \
      --management-key-out /media/admin --backup-recipient age1... --out /media/admin/spare.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return newTokenKey(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.policy, "policy", "", "policy note with a [[key]] table of the name")
	flags.StringVar(&f.name, "name", "", "the key's name in the policy")
	flags.StringVar(&f.uid, "uid", "", "user id of the OpenPGP certificate, of a key of that family: \"Name <mail>\"")
	flags.StringVar(&f.out, "out", "", "file for the record; not overwritten")
	flags.StringVar(&f.managed, "management-key", "", "the token's management key, as such a file, if it is not the factory's")
	flags.StringVar(&f.identity, "identity", "", "age identity that decrypts it")
	flags.BoolVar(&f.setPIN, "set-pin", false, "have the operator set the token's PIN and PUK")
	flags.BoolVar(&f.replace, "replace-key", false, "destroy the key that is in the token's slot")
	flags.BoolVar(&f.throwaway, "throwaway", false, "for tests: take an emulated token, ask for no confirmation")
	f.keep.add(c, "")
	f.panel.Add(c)
	f.token.Add(c)
	cli.Required(c, "policy", "name", "out")
	c.MarkFlagsRequiredTogether("management-key", "identity")
	c.MarkFlagsMutuallyExclusive("management-key", "management-key-out")
	return c
}

func newTokenKey(ctx context.Context, f tokenKeyFlags) error {
	j := enrol.Joining{Name: f.name, UserID: f.uid, SetPIN: f.setPIN, Replace: f.replace, Throwaway: f.throwaway, Now: time.Now().UTC().Truncate(time.Second)}
	k, err := f.keep.read()
	if err != nil {
		return err
	}
	j.Expires, j.Manage, j.Revoke = k.expires, k.manage, k.revocations
	if j.Managed, err = f.present(); err != nil {
		return err
	}
	defer clear(j.Managed)
	if _, err := os.Lstat(f.out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: a record is not overwritten", f.out)
	}
	if j.Policy, err = os.ReadFile(f.policy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if j.Token, err = f.token.Open(); err != nil {
		return err
	}
	defer func() { _ = j.Token.Close() }()
	panel, err := f.panel.Open(filepath.Dir(f.out))
	if err != nil {
		return err
	}
	defer panel.Restore()
	j.Panel = panel
	record, err := enrol.TokenKey(ctx, j)
	if err != nil {
		return err
	}
	text, err := tokenkey.Marshal(record)
	if err != nil {
		return err
	}
	return durable.WriteFile(f.out, text, 0o644)
}

// present is the token's management key; nil is the factory's.
func (f *tokenKeyFlags) present() ([]byte, error) {
	if f.managed == "" {
		return nil, nil
	}
	id, err := os.Open(f.identity)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	defer func() { _ = id.Close() }()
	return enrol.OpenManagement(f.managed, id)
}
