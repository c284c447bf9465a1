// Package upkeep has the commands for administrators and auditors who stand at the
// board: answers to challenges, the log key.
package upkeep

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol"
	"touchmark/appliance/enrol/stopped"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
)

type answerFlags struct {
	dir, tpm, challenge, out, auth, identity string
}

// Answer is answer.
func Answer() *cobra.Command {
	var f answerFlags
	c := &cobra.Command{
		Use:   "answer --dir DIR --challenge FILE --out FILE",
		Short: "Answer an auditor's challenge on a stopped board",
		Long: `Answer a challenge that 'touchmark-audit challenge' made: the TPM's word on HEAD
and PCR over the auditor's nonce, the newest checkpoint, and, if the challenge
has a credential, the secret in it (TPM2_ActivateCredential). The answer holds
no secret of the board's. Carry it back to the auditor.

The board must not be running. Once the hierarchy authorizations are set, a
credential needs that of the endorsement hierarchy: --hierarchy-auth, the file
hierarchy-endorsement-….age that the enrolment of this board wrote for the
administrators, and --identity, which decrypts it.`,
		Example: `  touchmark-appliance answer --dir /data/touchmark --challenge /media/usb/monday.challenge --out /media/usb/monday.answer
  touchmark-appliance answer --dir /data/touchmark --challenge c --out a --hierarchy-auth /media/admin/hierarchy-endorsement-touchmark.example_demo.age --identity /media/admin/age.key`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return answer(f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "data directory made by enroll")
	flags.StringVar(&f.tpm, "tpm", "/dev/tpmrm0", "TPM: a device, or swtpm:/path/to/socket")
	flags.StringVar(&f.challenge, "challenge", "", "file with the challenge")
	flags.StringVar(&f.out, "out", "", "file to write")
	flags.StringVar(&f.auth, "hierarchy-auth", "", "file with the authorization of the TPM's endorsement hierarchy, if that is set")
	flags.StringVar(&f.identity, "identity", "", "file with an age identity that decrypts it")
	c.MarkFlagsRequiredTogether("hierarchy-auth", "identity")
	cli.Required(c, "dir", "challenge", "out")
	return c
}

func answer(f answerFlags) error {
	text, err := cli.ReadSmall(f.challenge, challenge.MaxText)
	if err != nil {
		return err
	}
	c, err := challenge.Parse(text)
	if err != nil {
		return fmt.Errorf("%s is not a challenge: %w", f.challenge, err)
	}
	endorsement, err := f.endorsement()
	if err != nil {
		return err
	}
	defer clear(endorsement)
	tpm, err := cli.OpenTPM(f.tpm)
	if err != nil {
		return err
	}
	defer func() { _ = tpm.Close() }()
	a, err := stopped.Answer(f.dir, tpm, endorsement, c)
	if err != nil {
		if errors.Is(err, device.ErrEndorsementLocked) && f.auth == "" {
			return fmt.Errorf("%w: give it with --hierarchy-auth and --identity", err)
		}
		return err
	}
	if text, err = a.Marshal(); err != nil {
		return err
	}
	return durable.WriteFile(f.out, text, 0o644)
}

// endorsement decrypts the authorization of the endorsement hierarchy, nil if none
// is given.
func (f *answerFlags) endorsement() ([]byte, error) {
	if f.auth == "" {
		return nil, nil
	}
	identity, err := os.Open(f.identity)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	defer func() { _ = identity.Close() }()
	log, err := stopped.Log(f.dir)
	if err != nil {
		return nil, err
	}
	return enrol.OpenAuth(f.auth, identity, log, device.Endorsement)
}
