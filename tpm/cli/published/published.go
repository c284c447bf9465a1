// Package published is "touchmark-audit published": a repository is walked and compared
// with the log. What is compared, and how it is judged, is in tpm/audit/published.
package published

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/published"
	"touchmark/tpm/cli"
	"touchmark/tpm/cli/mirror"
)

func logFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "log", "", "published log")
	if err := cmd.MarkFlagRequired("log"); err != nil {
		panic(err) // the flag is defined one line above
	}
}

type publishedOptions struct {
	trust, log string
	json, all  bool
}

// Command is "touchmark-audit published".
func Command() *cobra.Command {
	var o publishedOptions
	cmd := &cobra.Command{
		Use:   "published DIR --log LOGDIR --trust DIR",
		Short: "Compare a repository with the log: what is published, what was signed",
		Long: `Walk a repository and compare it with the log. Each signature by the log's key
(FILE.sig, FILE.asc, FILE.gpg, FILE.sign, InRelease; in-toto's metadata and DSSE
envelopes in these and in *.link, *.layout, *.dsse, *.json) must have been announced
in the log and be over the file beside it, or over what it stands in; each signature that the log says was
made, and that the repository does not have, is listed, unless something newer of
the same name was signed. So is what may have been signed though the log says
otherwise: compare it with what operators remember.

The entries must lead to the log's checkpoint. Whether the log is honest is for
'verify' to say.

Exit codes: 0 each signature is announced, and each one made is here; 1 some that
were made are not here, or their files are not; 2 a signature that nobody announced, or
that is not over its file; 3 something cannot be read, or is larger than a signature
can be; 4 wrong usage.`,
		Example: `  touchmark-audit published /srv/repo --log log --trust trust
  touchmark-audit published /srv/repo --log log --trust trust --all --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.OutOrStdout(), args[0]) },
	}
	cli.TrustFlag(cmd, &o.trust)
	logFlag(cmd, &o.log)
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&o.all, "all", false, "list what is in order, superseded or by other keys too")
	return cmd
}

func (o publishedOptions) run(out io.Writer, dir string) error {
	l, err := mirror.Open(o.log, o.trust)
	if err != nil {
		return cli.Unreadable(err)
	}
	keys, err := certificate.ParseKeyring(l.Trust.Certs)
	if err != nil {
		return cli.Unreadable(err)
	}
	r := published.New(keys, l.Trust.Origin)
	t := &tally{out: out, o: o, count: map[published.State]int{}}
	if err := walk(dir, r, t.say); err != nil {
		return cli.Unreadable(err)
	}
	m := r.Against(t.say)
	if err := l.Each(m.Entry); err != nil {
		return cli.Unreadable(err)
	}
	if err := m.Finish(); err != nil {
		return cli.Unreadable(err)
	}
	return t.verdict()
}

// tally prints findings and counts them.
type tally struct {
	out   io.Writer
	o     publishedOptions
	count map[published.State]int
}

func (t *tally) say(f published.Found) error {
	t.count[f.State]++
	if !t.o.all && slices.Contains([]published.State{published.Good, published.Foreign, published.Keys, published.Superseded}, f.State) {
		return nil
	}
	if t.o.json {
		return cli.PrintJSON(t.out, f)
	}
	at := ""
	if f.Entry != nil {
		at = fmt.Sprintf(" (entry %d)", *f.Entry)
	}
	_, err := fmt.Fprintf(t.out, "%-18s %s%s\n", f.State, form.Show(f.File), at)
	if err == nil && f.Text != "" {
		_, err = fmt.Fprintf(t.out, "%-18s %s\n", "", f.Text)
	}
	return err
}

func (t *tally) verdict() error {
	bad := t.count[published.Unlogged] + t.count[published.Mismatch]
	lacking := t.count[published.Unpublished] + t.count[published.Missing]
	if !t.o.json {
		if _, err := fmt.Fprintf(t.out, "%d signatures in order, %d by others; %d unannounced or not over their files; %d not here, %d superseded, %d perhaps signed\n",
			t.count[published.Good], t.count[published.Foreign], bad, lacking, t.count[published.Superseded], t.count[published.Unsure]); err != nil {
			return cli.Unreadable(err)
		}
	}
	switch {
	case bad > 0:
		return cli.Exit(cli.Evidence, "")
	case t.count[published.NotRead] > 0:
		return cli.Exit(cli.Unknown, fmt.Sprintf("%d files were not read", t.count[published.NotRead]))
	case lacking > 0:
		return cli.Exit(cli.Warnings, "")
	}
	return nil
}
