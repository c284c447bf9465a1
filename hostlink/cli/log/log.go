// Package log is what "touchmark log", "publish" and "challenge" do with the
// appliance's log: show this host's mirror, wait until it is published, and have the
// running board prove its state to an auditor.
package log

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/find"
	"touchmark/tpm/ledger/summary"
)

// Command is "touchmark log".
func Command(a *cli.App) *cobra.Command {
	var req api.Request
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the mirrored log",
		Long: `Shows entries of this host's mirror, oldest first. A * marks entries not covered
by a checkpoint yet. This is for reading; touchmark-audit is for checking.

With --artifact, --digest, --class or --job the intents that fit are shown, with
their files, and how each ended; all that is given must fit, name and digest one
and the same file. The digest is what sha256sum prints of the file, but for texts
and documents, which are signed over another form (docs/spec/signature.md §4).`,
		Example: "  touchmark log --last 5\n  touchmark log --artifact 'core.db*' --since 2026-05-01 --until 2026-06-01\n" +
			"  touchmark log --digest 9f86d081884c\n  touchmark log --json | jq 'select(.kind==\"intent\")'",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, n := range []string{"last", "count"} {
				if c.Flags().Changed(n) && c.Flag(n).Value.String() == "0" {
					return api.Errorf(api.Usage, "--%s 0 shows nothing: leave it out to see all", n)
				}
			}
			if q := req.Find; q.Name+q.Digest+q.Class+q.Job+q.From+q.To == "" && len(q.Kinds) == 0 {
				req.Find = nil
			}
			return log(a, &req)
		},
	}
	req.Op, req.Find = api.OpLog, &find.Query{Outcomes: true}
	c.Flags().StringVar(&req.Find.Name, "artifact", "", "only files of this name, with * and ?")
	c.Flags().StringVar(&req.Find.Digest, "digest", "", "only files of this digest: its first 8 or more digits")
	c.Flags().StringVar(&req.Find.Class, "class", "", "only jobs of this policy class")
	c.Flags().StringVar(&req.Find.Job, "job", "", "only this job: its first 8 or more digits")
	c.Flags().StringArrayVar(&req.Find.Kinds, "kind", nil, "only entries of this kind, once for each")
	c.Flags().StringVar(&req.Find.From, "since", "", "only entries of this time (2026-05-01 or 2026-05-01T12:00:00Z) or later")
	c.Flags().StringVar(&req.Find.To, "until", "", "only entries before this time")
	c.Flags().Uint64Var(&req.From, "from", 0, "first entry")
	c.Flags().Uint64Var(&req.Count, "count", 0, "how many (default: all)")
	c.Flags().Uint64Var(&req.Last, "last", 0, "only the last so many (default: all)")
	return c
}

func log(a *cli.App, req *api.Request) error {
	d, err := a.Daemon().Follow(req)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // the conversation is over either way
	for found := false; ; {
		r, err := d.Next()
		if err != nil {
			return err
		}
		if r.Entry != nil {
			found = true
			if err := Print(a, r.Entry); err != nil {
				return err
			}
			if req.Find != nil && !a.JSON {
				files(a, r.Entry.Text)
			}
		}
		if r.Final {
			if r.OK && !found {
				fmt.Fprintln(a.Errs, "touchmark: no entry is like that")
			}
			return client.Said(r)
		}
	}
}

// logLine is an entry as --json shows it.
type logLine struct {
	Index     uint64 `json:"index"`
	Time      string `json:"time"`
	Kind      string `json:"kind"`
	Committed bool   `json:"committed"`
	Leaf      string `json:"leaf"`
	Text      string `json:"text"`
}

// Print shows an entry: a line, or an object. One that is none is evidence.
func Print(a *cli.App, e *api.Entry) error {
	h, body, err := ledger.Parse(e.Text)
	if err != nil {
		return api.Errorf(api.Evidence, "entry %d: %w", e.Index, err)
	}
	if a.JSON {
		leaf := ledger.LeafHash(e.Text)
		a.Object(logLine{h.Index, h.Time.Format(time.RFC3339), ledger.KindOf(body), e.Committed, hex.EncodeToString(leaf[:]), string(e.Text)})
		return nil
	}
	mark := " "
	if !e.Committed {
		mark = "*"
	}
	fmt.Fprintf(a.Out, "%6d%s %s  %-8s %s\n", h.Index, mark, h.Time.Format(time.RFC3339), ledger.KindOf(body), summary.Of(body))
	return nil
}

// files shows the files of an intent, a line each.
func files(a *cli.App, entry []byte) {
	_, body, err := ledger.Parse(entry)
	in, ok := body.(*ledger.Intent)
	if err != nil || !ok {
		return
	}
	ap, err := summary.Approval(in)
	if err != nil {
		return
	}
	for _, it := range ap.Items {
		fmt.Fprintf(a.Out, "        %s  %d bytes  %s  %s\n", it.Digest, it.Size, it.Format, it.Name)
	}
}
