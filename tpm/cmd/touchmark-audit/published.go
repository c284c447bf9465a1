package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/published"
	"touchmark/tpm/ledger"
)

type publishedOptions struct {
	trust, log string
	json, all  bool
}

func publishedCommand() *cobra.Command {
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
	trustFlag(cmd, &o.trust)
	logFlag(cmd, &o.log)
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&o.all, "all", false, "list what is in order, superseded or by other keys too")
	return cmd
}

func (o publishedOptions) run(out io.Writer, dir string) error {
	l, err := openLog(o.log, o.trust)
	if err != nil {
		return unreadable(err)
	}
	keys, err := certificate.ParseKeyring(l.trust.Certs)
	if err != nil {
		return unreadable(err)
	}
	r := published.New(keys, l.trust.Origin)
	t := &tally{out: out, o: o, count: map[published.State]int{}}
	if err := walk(dir, r, t.say); err != nil {
		return unreadable(err)
	}
	m := r.Against(t.say)
	if err := l.each(m.Entry); err != nil {
		return unreadable(err)
	}
	if err := m.Finish(); err != nil {
		return unreadable(err)
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
		return printJSON(t.out, f)
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
			return unreadable(err)
		}
	}
	switch {
	case bad > 0:
		return &exitError{code: exitEvidence}
	case t.count[published.NotRead] > 0:
		return &exitError{exitUnknown, fmt.Sprintf("%d files were not read", t.count[published.NotRead])}
	case lacking > 0:
		return &exitError{code: exitWarnings}
	}
	return nil
}

var errNotCommitted = errors.New("the entries do not lead to the checkpoint's root: run 'touchmark-audit verify'")

// each gives the entries that the checkpoint covers, then the pending ones,
// and fails unless the former lead to its root.
func (l *log) each(f func(index uint64, raw []byte) error) error {
	var tree ledger.Tree
	for raw, err := range l.tiles.Entries(0) {
		if err != nil {
			return err
		}
		if tree.Size() == l.cp.Size {
			break
		}
		if err := f(tree.Size(), raw); err != nil {
			return err
		}
		tree.Add(ledger.LeafHash(raw))
	}
	if tree.Size() != l.cp.Size || tree.Root() != l.cp.Root {
		return errNotCommitted
	}
	for _, raw := range l.pending {
		if h, _, err := ledger.Parse(raw); err == nil && h.Index < tree.Size() {
			continue
		}
		if err := f(tree.Size(), raw); err != nil {
			return err
		}
		tree.Add(ledger.LeafHash(raw))
	}
	return nil
}
