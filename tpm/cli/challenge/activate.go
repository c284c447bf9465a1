package challenge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/audit/ek"
	"touchmark/tpm/cli"
	"touchmark/tpm/quote"
)

type activateOptions struct {
	trust, roots, at string
}

// ActivateCommand is "touchmark-audit activate".
func ActivateCommand() *cobra.Command {
	var o activateOptions
	cmd := &cobra.Command{
		Use:   "activate CHALLENGE ANSWER --trust DIR --ek-roots DIR",
		Short: "Look whether the answer tells the challenge's secret",
		Long: `Compare the secret in an answer with the one kept in CHALLENGE.secret, verify the
answer's attestations, and check that the EK certificate leads to one of the TPM
makers' roots in --ek-roots: a directory of certificates, DER or PEM, that you
have from the makers.

If all of that is so, the attestation key of this log is in a TPM of that maker.
A certificate that has expired is refused; --at judges it as of another day.

Exit codes: 0 all of it, 1 the secrets agree but without --ek-roots nobody knows
whose TPM it is, 2 it is not so, 3 something cannot be read, 4 wrong usage.`,
		Example: `  touchmark-audit activate enrolment.challenge enrolment.answer --trust trust --ek-roots tpm-makers`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), args[0], args[1])
		},
	}
	cli.TrustFlag(cmd, &o.trust)
	cmd.Flags().StringVar(&o.roots, "ek-roots", "", "directory of the TPM makers' certificates")
	cmd.Flags().StringVar(&o.at, "at", "", "judge the EK certificate as of this day, 2006-01-02 (default: the challenge's time)")
	return cmd
}

func (o activateOptions) run(out io.Writer, asked, answered string) error {
	at, err := o.day()
	if err != nil {
		return err
	}
	tr, err := cli.ReadTrust(o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	d, err := ReadDialogue(asked, answered)
	if err != nil {
		return cli.Unreadable(err)
	}
	text, err := cli.ReadFile(asked+".secret", challenge.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (touchmark-audit challenge wrote it beside the challenge that has a credential)", err)
	}
	if err != nil {
		return cli.Unreadable(err)
	}
	kept, err := challenge.ParseSecret(text)
	if err != nil {
		return cli.Unreadable(err)
	}
	if d.Challenge.Credential == nil {
		return cli.Unreadable(errors.New("the challenge has no credential: it asks for freshness only"))
	}
	if err := activated(tr, d, kept); err != nil {
		return cli.Exit(cli.Evidence, err.Error())
	}
	if _, err = fmt.Fprintf(out, "the attestation key of %s is in the TPM that holds the endorsement key\n", tr.Origin); err != nil {
		return err
	}
	if at.IsZero() {
		at = d.Challenge.Time
	}
	return o.whose(out, kept.EK, at)
}

// day is --at, zero without it.
func (o activateOptions) day() (at time.Time, err error) {
	if o.at != "" {
		if at, err = time.Parse(time.DateOnly, o.at); err != nil {
			err = fmt.Errorf("--at: %q is not a day like 2006-01-02", o.at)
		}
	}
	return at, err
}

// activated checks secret and attestations.
func activated(tr *anchor.Trust, d *audit.Dialogue, kept *challenge.Secret) error {
	if err := d.Challenge.Check(d.Answer, kept); err != nil {
		return err
	}
	ak, err := quote.ParseAK(tr.AK)
	if err != nil {
		return err
	}
	tag := quote.ChallengeTag(d.Challenge.Nonce)
	if _, err := ak.VerifyNV(d.Answer.Certify, tr.HeadName, tag); err != nil {
		return err
	}
	_, err = ak.VerifyQuote(d.Answer.Quote, tr.PCR, tag)
	return err
}

// whose says who vouches for the endorsement key.
func (o activateOptions) whose(out io.Writer, der []byte, at time.Time) error {
	if o.roots == "" {
		return cli.Exit(cli.Warnings, "whose TPM that is was not checked: give --ek-roots, the TPM makers' certificates")
	}
	roots, err := readRoots(o.roots)
	if err != nil {
		return cli.Unreadable(err)
	}
	f, err := roots.Verify(der, at)
	if err != nil {
		return cli.Exit(cli.Evidence, err.Error())
	}
	_, err = fmt.Fprintf(out, "maker     %s, model %s, version %s\nissued by %s\nroot      %s (in %s)\nvalid to  %s\n",
		f.Manufacturer, f.Model, f.Version, f.Issuer, f.Root, o.roots, f.NotAfter.UTC().Format(time.DateOnly))
	return err
}

// readRoots reads every file of a directory; one that is no certificate is an
// error, so that nobody believes in a root that was skipped.
func readRoots(dir string) (*ek.Roots, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no certificates", dir)
	}
	roots := &ek.Roots{}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		file, err := cli.ReadFile(path, ek.MaxRootsFile)
		if err == nil {
			err = roots.Add(file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return roots, nil
}
