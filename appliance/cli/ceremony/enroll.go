// Package ceremony has the commands that make keys on a token: the key ceremony, and a
// further token for a log that runs.
package ceremony

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol"
	"touchmark/appliance/piv"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledgerstore/durable"
)

type enrollFlags struct {
	backupSerial                         uint32
	backupKeys                           []string
	dir, tpm, policy, uid, trust, nonce  string
	transcript, predecessor              string
	keep                                 keepFlags
	replace, sameHead, throwaway, setPIN bool
	panel                                cli.PanelFlags
	token                                cli.TokenFlags
}

// Enroll is enroll.
func Enroll() *cobra.Command {
	var f enrollFlags
	c := &cobra.Command{
		Use:   "enroll --dir DIR --policy NOTE --uid UID --trust-out DIR",
		Short: "The key ceremony: bind a token, a TPM and a policy into a new log",
		Long: `The key ceremony. The token makes a key (touch policy always, PIN policy once)
and, by a touch, its OpenPGP certificate; the TPM makes an attestation key and
HEAD, an index that can only be extended; the genesis entry is committed.

HEAD CANNOT BE REMOVED from a real TPM, not even by clearing it: one TPM serves
one log for its lifetime. The operator is asked before that (console: y; lines:
"confirm yes"), types the PIN and touches the token once.

A ceremony that was cut short, by whatever, goes on where it was: give the same
command again. --transcript tells all of it, to be printed and signed by those
present.

A token or TPM whose keys can be copied is refused without --throwaway, which is
for tests, demonstrations and development: it asks for no confirmation. HEAD
stays in a real TPM all the same.

After TPM2_Clear, --same-head with --predecessor begins a new log where HEAD
stands. --predecessor alone says which log on another board this one goes on
from; close that one with an order.`,
		Example: `  touchmark-appliance enroll --dir /data/touchmark --policy policy.note \
      --uid "Example Packages <packages@example.org>" --trust-out /media/usb/trust \
      --management-key-out /media/usb --hierarchy-auth-out /media/usb \
      --backup-recipient age1... --revocation-out /media/usb --revocation-recipient age1... \
      --transcript /media/usb/ceremony.txt`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return enroll(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "data directory to make")
	flags.StringVar(&f.tpm, "tpm", "/dev/tpmrm0", "TPM: a device, or swtpm:/path/to/socket")
	flags.StringVar(&f.policy, "policy", "", "policy note, signed by its administrators ('touchmark policy sign')")
	flags.StringVar(&f.uid, "uid", "", "user id of the OpenPGP certificate: \"Name <mail>\"")
	flags.StringVar(&f.trust, "trust-out", "", "where to write what hosts and auditors pin")
	flags.StringVar(&f.nonce, "auditor-nonce", "", "64 hex digits from an auditor who watches")
	flags.StringVar(&f.keep.auths, "hierarchy-auth-out", "", "directory: set the authorizations of the TPM's hierarchies to random ones and write them here, as hierarchy-NAME-ORIGIN.age, encrypted to the --backup-recipient")
	flags.StringVar(&f.transcript, "transcript", "", "file to tell the ceremony in")
	flags.StringVar(&f.predecessor, "predecessor", "", "trust directory of the log that this one goes on from")
	flags.BoolVar(&f.sameHead, "same-head", false, "go on from the HEAD of the predecessor, after TPM2_Clear")
	flags.BoolVar(&f.throwaway, "throwaway", false, "for tests: take emulated hardware, ask for no confirmation")
	flags.BoolVar(&f.setPIN, "set-pin", false, "have the operator set the token's PIN and PUK")
	flags.BoolVar(&f.replace, "replace-key", false, "destroy the key that is in the token's slot")
	flags.Uint32Var(&f.backupSerial, "backup-serial", 0, "serial number of a second token, plugged in beside the first (--serial), which makes the keys of --backup-key")
	flags.StringArrayVar(&f.backupKeys, "backup-key", nil, "name of a key of the policy that the second token makes (repeatable)")
	f.keep.add(c, "a copy of the log key in the trust directory, the TPM's authorizations, ")
	f.panel.Add(c)
	f.token.Add(c)
	cli.Required(c, "dir", "policy", "uid", "trust-out")
	return c
}

func enroll(ctx context.Context, f enrollFlags) error {
	cfg := enrol.Config{
		Dir: f.dir, TrustDir: f.trust, UserID: f.uid, Transcript: f.transcript,
		SetPIN: f.setPIN, BackupKeys: f.backupKeys, Replace: f.replace, SameHead: f.sameHead, Throwaway: f.throwaway, Now: time.Now().UTC().Truncate(time.Second),
	}
	k, err := f.keep.read()
	if err != nil {
		return err
	}
	cfg.Expires, cfg.Backup, cfg.Auths, cfg.Manage, cfg.Revocations = k.expires, k.backup, k.auths, k.manage, k.revocations
	if f.predecessor != "" {
		if cfg.Predecessor, err = readTrust(f.predecessor); err != nil {
			return fmt.Errorf("predecessor: %w", err)
		}
	}
	if cfg.PolicyNote, err = os.ReadFile(f.policy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if cfg.Nonce, err = parseNonce(f.nonce); err != nil {
		return err
	}
	if cfg.TPM, err = cli.OpenTPM(f.tpm); err != nil {
		return err
	}
	defer func() { _ = cfg.TPM.Close() }()
	if cfg.Token, err = f.token.Open(); err != nil {
		return err
	}
	defer func() { _ = cfg.Token.Close() }()
	if f.backupSerial != 0 {
		if cfg.BackupToken, err = piv.Open(piv.Options{Serial: f.backupSerial}); err != nil {
			return fmt.Errorf("backup token: %w", err)
		}
		defer func() { _ = cfg.BackupToken.Close() }()
	}
	if err := durable.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	panel, err := f.panel.Open(f.dir)
	if err != nil {
		return err
	}
	defer panel.Restore()
	cfg.Panel = panel
	_, err = enrol.Run(ctx, cfg)
	return err
}

func parseNonce(s string) (n [32]byte, err error) {
	if s == "" {
		return n, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(n) {
		return n, &cli.UsageError{Err: errors.New("--auditor-nonce takes 64 hex digits")}
	}
	return [32]byte(b), nil
}

// readTrust reads the trust note in a trust directory.
func readTrust(dir string) (*anchor.Trust, error) {
	text, err := cli.ReadSmall(filepath.Join(dir, "trust"), anchor.MaxTrust)
	if err != nil {
		return nil, err
	}
	return anchor.OpenTrust(text)
}
