package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/enrol"
	"touchmark/appliance/piv"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
)

type enrollFlags struct {
	dir, tpm, policy, uid, trust, nonce, manage string
	replace                                     bool
	panel                                       panelFlags
	token                                       tokenFlags
}

func enrollCommand() *cobra.Command {
	var f enrollFlags
	c := &cobra.Command{
		Use:   "enroll --dir DIR --policy NOTE --uid UID --trust-out DIR",
		Short: "The key ceremony: bind a token, a TPM and a policy into a new log",
		Long: `The key ceremony. The token makes a key (touch policy always, PIN policy once)
and, by a touch, its OpenPGP certificate; the TPM makes an attestation key and
HEAD, an index that can only be extended; the genesis entry is committed.

HEAD CANNOT BE REMOVED from a real TPM, not even by clearing it: one TPM serves
one log for its lifetime. With an emulated TPM nothing of this is lasting.

The operator types the PIN and touches the token once.`,
		Example: `  touchmark-appliance enroll --dir /data/touchmark --policy policy.note \
      --uid "Example Packages <packages@example.org>" --trust-out /media/usb/trust`,
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
	flags.StringVar(&f.manage, "management-key-out", "", "give the token a random management key and write it here, for the administrators")
	flags.BoolVar(&f.replace, "replace-key", false, "destroy the key that is in the token's slot")
	f.panel.add(c)
	f.token.add(c)
	required(c, "dir", "policy", "uid", "trust-out")
	return c
}

func enroll(ctx context.Context, f enrollFlags) error {
	cfg := enrol.Config{Dir: f.dir, TrustDir: f.trust, UserID: f.uid, Replace: f.replace, Now: time.Now().UTC().Truncate(time.Second)}
	var err error
	if cfg.PolicyNote, err = os.ReadFile(f.policy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if cfg.Nonce, err = parseNonce(f.nonce); err != nil {
		return err
	}
	if cfg.TPM, err = device.Open(f.tpm); err != nil {
		return err
	}
	defer func() { _ = cfg.TPM.Close() }()
	if cfg.Token, err = f.token.open(); err != nil {
		return err
	}
	defer func() { _ = cfg.Token.Close() }()
	if cfg.NewManage, err = newManagementKey(f.manage); err != nil {
		return err
	}
	if err := durable.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	panel, err := f.panel.open(f.dir)
	if err != nil {
		return err
	}
	defer panel.restore()
	cfg.Panel = panel
	if _, err = enrol.Run(ctx, cfg); errors.Is(err, enrol.ErrEnrolled) {
		return fmt.Errorf("%w: %w", errEnrolment, err)
	}
	return err
}

func parseNonce(s string) (n [32]byte, err error) {
	if s == "" {
		return n, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(n) {
		return n, &usageError{errors.New("--auditor-nonce takes 64 hex digits"), "touchmark-appliance enroll"}
	}
	return [32]byte(b), nil
}

// newManagementKey writes the key out before the token gets it, so that it
// cannot be lost in between.
func newManagementKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	key := piv.NewManagementKey()
	if err := durable.WriteFile(path, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, err
	}
	return key, nil
}
