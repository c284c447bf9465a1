package verify

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/cli"
)

// CertificateCommand is "touchmark-audit certificate".
func CertificateCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "certificate LOGDIR --trust DIR",
		Short: "Print the OpenPGP certificates as the log leaves them",
		Long: `Print the OpenPGP certificates of the log's keys as the log leaves them,
armoured in one block, or that of the key --name alone: with every renewal and
revocation that administrators ordered and the token signed.

The log is audited first. With evidence of tampering nothing is printed but the
report, on standard error.

Exit codes: 0 printed, 1 printed, and the audit has warnings, 2 evidence,
3 something cannot be read.`,
		Example: `  touchmark-audit certificate /srv/mirror --trust trust > packages.asc
  touchmark-audit certificate /srv/mirror --trust trust --name packages --binding > packages.binding
  touchmark-audit certificate /srv/mirror --trust trust --since last.checkpoint | gpg --import`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.certificate(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
		},
	}
	cli.TrustFlag(cmd, &o.trust)
	cmd.Flags().StringVar(&o.since, "since", "", "the checkpoint up to which the log was audited before")
	cmd.Flags().StringVar(&o.name, "name", "", "what the policy calls the key (default: all keys)")
	cmd.Flags().BoolVar(&o.binding, "binding", false, "with --name: print the binding request for the primary key that it agreed to last, binary, for touchmark bind")
	cmd.Flags().BoolVar(&o.quiet, "quiet", false, "no progress bar")
	return cmd
}

func (o options) certificate(out, stderr io.Writer, dir string) error {
	r, err := o.audit(stderr, dir, o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	if r.Verdict == finding.Tampered {
		if err := o.print(stderr, r); err != nil {
			return cli.Unreadable(err)
		}
		return cli.Exit(cli.Evidence, "")
	}
	if o.binding {
		return o.printBinding(out, r)
	}
	var certs [][]byte
	for _, c := range r.Certificates {
		if c.OpenPGP != nil && (o.name == "" || o.name == c.Key) {
			certs = append(certs, c.OpenPGP)
		}
	}
	if certs == nil {
		return cli.Unreadable(errors.New("the log tells of no such certificate"))
	}
	armored := certificate.ArmorAll(certs)
	if armored == nil {
		return cli.Unreadable(errors.New("none of these keys makes OpenPGP signatures, so none has a certificate: touchmark keyring show prints what their tools read"))
	}
	if _, err := out.Write(armored); err != nil {
		return cli.Unreadable(err)
	}
	if r.Verdict == finding.Warnings {
		return cli.Exit(cli.Warnings, "")
	}
	return nil
}

// printBinding prints a key's binding request.
func (o options) printBinding(out io.Writer, r *report.Report) error {
	for _, c := range r.Certificates {
		if c.Key != o.name || c.Binding == nil {
			continue
		}
		if _, err := out.Write(c.Binding); err != nil {
			return cli.Unreadable(err)
		}
		if r.Verdict == finding.Warnings {
			return cli.Exit(cli.Warnings, "")
		}
		return nil
	}
	return cli.Unreadable(fmt.Errorf("the log tells of no key %q that agreed to a primary key (--name)", o.name))
}
