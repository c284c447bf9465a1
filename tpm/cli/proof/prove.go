// Package proof is "touchmark-audit prove", which makes the proof of an intent from a
// published log, and "verify-proof", which verifies one.
package proof

import (
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"touchmark/hostlink/message"
	"touchmark/tpm/cli"
	"touchmark/tpm/cli/mirror"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/summary"
	"touchmark/tpm/ledgerstore/durable"
)

type proveOptions struct {
	trust, name, job, out string
	index                 int64
}

// ProveCommand is "touchmark-audit prove".
func ProveCommand() *cobra.Command {
	o := proveOptions{}
	cmd := &cobra.Command{
		Use:   "prove LOGDIR --trust DIR (--index N | --job JOB | --name NAME)",
		Short: "Make the proof of an intent from a published log",
		Long: `Make FILE.tmproof for an intent that the log's checkpoint covers. An index is
answered at once; a job, or the newest intent of an artifact name, is looked for
through the whole log.`,
		Example: `  touchmark-audit prove log --trust trust --index 10 --out demo.db.tar.gz.tmproof
  touchmark-audit prove log --trust trust --name demo.db.tar.gz > demo.db.tar.gz.tmproof`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.OutOrStdout(), args[0]) },
	}
	cli.TrustFlag(cmd, &o.trust)
	cmd.Flags().Int64Var(&o.index, "index", -1, "index of the intent entry")
	cmd.Flags().StringVar(&o.job, "job", "", "job of the intent, 64 hex digits")
	cmd.Flags().StringVar(&o.name, "name", "", "artifact name; the newest intent that has it")
	cmd.Flags().StringVar(&o.out, "out", "", "file to write (default: standard output)")
	cmd.MarkFlagsOneRequired("index", "job", "name")
	cmd.MarkFlagsMutuallyExclusive("index", "job", "name")
	return cmd
}

func (o proveOptions) run(out io.Writer, dir string) error {
	l, err := mirror.Open(dir, o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	index, err := o.find(l)
	if err != nil {
		return cli.Unreadable(err)
	}
	p, err := l.Prove(index)
	if err != nil {
		return cli.Unreadable(err)
	}
	text, err := p.Marshal()
	if err == nil {
		if o.out == "" {
			_, err = out.Write(text)
		} else {
			err = durable.WriteFile(o.out, text, 0o644)
		}
	}
	if err != nil {
		return cli.Unreadable(err)
	}
	return nil
}

// find gives the index of the newest covered intent that is asked for.
func (o proveOptions) find(l *mirror.Log) (uint64, error) {
	if o.index >= 0 {
		return uint64(o.index), nil
	}
	found, ok := uint64(0), false
	err := l.Each(func(index uint64, raw []byte) error {
		if _, body, err := ledger.Parse(raw); err == nil && index < l.Checkpoint.Size {
			if b, is := body.(*ledger.Intent); is && o.wants(b) {
				found, ok = index, true
			}
		}
		return nil
	})
	if err == nil && !ok {
		err = errors.New("no intent that the checkpoint covers has this job or name")
	}
	return found, err
}

func (o proveOptions) wants(b *ledger.Intent) bool {
	if o.job != "" {
		return b.Job.String() == o.job
	}
	a, err := summary.Approval(b)
	return err == nil && slices.ContainsFunc(a.Items, func(it message.Item) bool { return it.Name == o.name })
}
