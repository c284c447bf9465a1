// Package challenge is "touchmark-audit challenge", which makes challenges for a board,
// and "activate", which looks whether an answer tells a challenge's secret. What they
// hold, and how they are judged, is in tpm/audit/challenge and tpm/audit/ek.
package challenge

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"touchmark/tpm/audit"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/cli"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
	"touchmark/tpm/quote"
)

type challengeOptions struct {
	trust, ek, log, out string
}

// Command is "touchmark-audit challenge".
func Command() *cobra.Command {
	var o challengeOptions
	cmd := &cobra.Command{
		Use:   "challenge --trust DIR --out FILE [--ek CERTIFICATE | --log LOGDIR]",
		Short: "Make a challenge for the board to answer",
		Long: `Make a challenge: carry the file to the board, which answers it with the TPM's word
on HEAD and PCR, and carry the answer back to 'verify --challenge FILE --answer
ANSWER'. That proves that a copy of the log is the newest.

With an endorsement key the challenge also holds a secret that only the TPM with
that key and this log's attestation key can tell: 'activate' looks at it. --ek is
the TPM's EK certificate; --log takes the one that entry 0 of a log holds. The
secret is kept in FILE.secret: nobody else must see it before the answer is
there. A file that is there already is not overwritten.`,
		Example: `  touchmark-audit challenge --trust trust --out monday.challenge
  touchmark-audit challenge --trust trust --out enrolment.challenge --ek ek.der`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.OutOrStdout()) },
	}
	cli.TrustFlag(cmd, &o.trust)
	cmd.Flags().StringVar(&o.out, "out", "", "file to write")
	cmd.Flags().StringVar(&o.ek, "ek", "", "EK certificate, DER or PEM")
	cmd.Flags().StringVar(&o.log, "log", "", "published log whose genesis entry holds the EK certificate")
	cmd.MarkFlagsMutuallyExclusive("ek", "log")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined three lines above
	}
	return cmd
}

func (o challengeOptions) run(out io.Writer) error {
	if err := o.free(); err != nil {
		return cli.Unreadable(err)
	}
	tr, err := cli.ReadTrust(o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	c, err := challenge.New(tr.Origin, time.Now(), rand.Reader)
	if err != nil {
		return cli.Unreadable(err)
	}
	if o.ek != "" || o.log != "" {
		if err := o.ask(c, tr.AK); err != nil {
			return cli.Unreadable(err)
		}
	}
	text, err := c.Marshal()
	if err == nil {
		err = durable.WriteFile(o.out, text, 0o644)
	}
	if err != nil {
		return cli.Unreadable(err)
	}
	_, err = fmt.Fprintf(out, "%s is for the board of %s\n", o.out, tr.Origin)
	return err
}

// free is an error if an earlier challenge has the place: without it, and its
// secret, nobody can judge the answer to it.
func (o challengeOptions) free() error {
	for _, path := range []string{o.out, o.out + ".secret"} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already, and whoever has it can still judge an answer by it: name another --out, or remove %s and %s.secret if the answer was judged or will never come", path, o.out, o.out)
		}
	}
	return nil
}

// ask adds a credential and keeps its secret.
func (o challengeOptions) ask(c *challenge.Challenge, akPublic []byte) error {
	der, err := o.certificate()
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("EK certificate: %w", err)
	}
	if cert.PublicKey == nil {
		return errors.New("EK certificate: its key is of a kind that this program does not know")
	}
	ak, err := quote.ParseAK(akPublic)
	if err != nil {
		return err
	}
	kept, err := c.Ask(cert.PublicKey, ak.Name(), rand.Reader)
	if err != nil {
		return err
	}
	kept.EK = der
	text, err := kept.Marshal()
	if err != nil {
		return err
	}
	return durable.WriteFile(o.out+".secret", text, 0o600)
}

func (o challengeOptions) certificate() ([]byte, error) {
	if o.ek != "" {
		b, err := cli.ReadFile(o.ek, ledger.MaxCert*2)
		if block, _ := pem.Decode(b); block != nil {
			return block.Bytes, err
		}
		return b, err
	}
	published, err := tiles.Open(o.log)
	if err != nil {
		return nil, err
	}
	for raw, err := range published.Entries(0) {
		if err != nil {
			return nil, err
		}
		_, body, err := ledger.Parse(raw)
		g, ok := body.(*ledger.Genesis)
		if err != nil || !ok || len(g.EK) == 0 {
			return nil, fmt.Errorf("entry 0 of %s holds no EK certificate: give --ek", o.log)
		}
		return g.EK, nil
	}
	return nil, fmt.Errorf("%s has no entries", o.log)
}

// ReadDialogue reads a challenge and the answer to it; it judges neither.
func ReadDialogue(asked, answered string) (*audit.Dialogue, error) {
	text, err := cli.ReadFile(asked, challenge.MaxText)
	if err != nil {
		return nil, err
	}
	d := &audit.Dialogue{}
	if d.Challenge, err = challenge.Parse(text); err != nil {
		return nil, fmt.Errorf("%s is not a challenge: %w", asked, err)
	}
	if text, err = cli.ReadFile(answered, challenge.MaxText); err != nil {
		return nil, err
	}
	if d.Answer, err = challenge.ParseAnswer(text); err != nil {
		return nil, fmt.Errorf("%s is not an answer: %w", answered, err)
	}
	return d, nil
}
