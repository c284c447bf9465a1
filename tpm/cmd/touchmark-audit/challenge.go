package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"touchmark/tpm/audit"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
	"touchmark/tpm/quote"
)

type challengeOptions struct {
	trust, ek, log, out string
}

func challengeCommand() *cobra.Command {
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
there.`,
		Example: `  touchmark-audit challenge --trust trust --out monday.challenge
  touchmark-audit challenge --trust trust --out enrolment.challenge --ek ek.der`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.OutOrStdout()) },
	}
	trustFlag(cmd, &o.trust)
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
	tr, err := readTrust(o.trust)
	if err != nil {
		return unreadable(err)
	}
	c, err := challenge.New(tr.Origin, time.Now(), rand.Reader)
	if err != nil {
		return unreadable(err)
	}
	if o.ek != "" || o.log != "" {
		if err := o.ask(c, tr.AK); err != nil {
			return unreadable(err)
		}
	}
	text, err := c.Marshal()
	if err == nil {
		err = durable.WriteFile(o.out, text, 0o644)
	}
	if err != nil {
		return unreadable(err)
	}
	_, err = fmt.Fprintf(out, "%s is for the board of %s\n", o.out, tr.Origin)
	return err
}

// ask adds a credential and keeps its secret.
func (o challengeOptions) ask(c *challenge.Challenge, akPublic []byte) error {
	ek, err := o.endorsementKey()
	if err != nil {
		return err
	}
	ak, err := quote.ParseAK(akPublic)
	if err != nil {
		return err
	}
	kept, err := c.Ask(ek, ak.Name(), rand.Reader)
	if err != nil {
		return err
	}
	text, err := kept.Marshal()
	if err != nil {
		return err
	}
	return durable.WriteFile(o.out+".secret", text, 0o600)
}

func (o challengeOptions) endorsementKey() (crypto.PublicKey, error) {
	der, err := o.certificate()
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("EK certificate: %w", err)
	}
	if cert.PublicKey == nil {
		return nil, errors.New("EK certificate: its key is of a kind that this program does not know")
	}
	return cert.PublicKey, nil
}

func (o challengeOptions) certificate() ([]byte, error) {
	if o.ek != "" {
		b, err := readFile(o.ek, ledger.MaxCert*2)
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

func activateCommand() *cobra.Command {
	var trust string
	cmd := &cobra.Command{
		Use:   "activate CHALLENGE ANSWER --trust DIR",
		Short: "Look whether the answer tells the challenge's secret",
		Long: `Compare the secret in an answer with the one kept in CHALLENGE.secret, and verify
the answer's attestations. If they agree, the attestation key of this log and the
endorsement key that the challenge was made for are in one TPM.

Whose TPM that is, the EK certificate says.

Exit codes: 0 they agree, 2 they do not, 3 something cannot be read, 4 wrong
usage.`,
		Example: `  touchmark-audit activate enrolment.challenge enrolment.answer --trust trust`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return activate(cmd.OutOrStdout(), args[0], args[1], trust)
		},
	}
	trustFlag(cmd, &trust)
	return cmd
}

func activate(out io.Writer, asked, answered, trust string) error {
	tr, err := readTrust(trust)
	if err != nil {
		return unreadable(err)
	}
	d, err := readDialogue(asked, answered)
	if err != nil {
		return unreadable(err)
	}
	text, err := readFile(asked+".secret", challenge.MaxText)
	if err != nil {
		return unreadable(err)
	}
	kept, err := challenge.ParseSecret(text)
	if err != nil {
		return unreadable(err)
	}
	if d.Challenge.Credential == nil {
		return unreadable(errors.New("the challenge has no credential: it asks for freshness only"))
	}
	ak, err := quote.ParseAK(tr.AK)
	if err != nil {
		return unreadable(err)
	}
	if err := d.Challenge.Check(d.Answer, kept); err != nil {
		return &exitError{exitEvidence, err.Error()}
	}
	tag := quote.ChallengeTag(d.Challenge.Nonce)
	if _, err := ak.VerifyNV(d.Answer.Certify, tr.HeadName, tag); err != nil {
		return &exitError{exitEvidence, err.Error()}
	}
	if _, err := ak.VerifyQuote(d.Answer.Quote, tr.PCR, tag); err != nil {
		return &exitError{exitEvidence, err.Error()}
	}
	_, err = fmt.Fprintf(out, "the attestation key of %s is in the TPM that holds the endorsement key\n", tr.Origin)
	return err
}

func readDialogue(asked, answered string) (*audit.Dialogue, error) {
	text, err := readFile(asked, challenge.MaxText)
	if err != nil {
		return nil, err
	}
	d := &audit.Dialogue{}
	if d.Challenge, err = challenge.Parse(text); err != nil {
		return nil, fmt.Errorf("%s is not a challenge: %w", asked, err)
	}
	if text, err = readFile(answered, challenge.MaxText); err != nil {
		return nil, err
	}
	if d.Answer, err = challenge.ParseAnswer(text); err != nil {
		return nil, fmt.Errorf("%s is not an answer: %w", answered, err)
	}
	return d, nil
}
