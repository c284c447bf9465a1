// Package diff is "touchmark-audit diff": two mirrors of a log compared by their
// checkpoints and hash tiles.
package diff

import (
	"encoding/hex"
	"fmt"
	"io"
	"sort"

	"github.com/spf13/cobra"

	"touchmark/tpm/cli"
	"touchmark/tpm/cli/mirror"
)

// Command is "touchmark-audit diff".
func Command() *cobra.Command {
	var trust string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff LOGDIR1 LOGDIR2 --trust DIR",
		Short: "Compare two mirrors of a log: the same, one the beginning of the other, or a fork",
		Long: `Compare two copies of a log by their checkpoints and hash tiles. Both checkpoints
must be good: certified by the TPM. If neither is a beginning of the other, the
TPM certified two histories; the report then has both checkpoint notes, which is
all the evidence that anybody needs.

Exit codes: 0 the same or a beginning, 2 a fork, 3 something cannot be read, 4
wrong usage.`,
		Example: `  touchmark-audit diff mirror-a/log mirror-b/log --trust trust
  touchmark-audit diff mirror-a/log mirror-b/log --trust trust --json > evidence.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return diff(cmd.OutOrStdout(), args, trust, asJSON)
		},
	}
	cli.TrustFlag(cmd, &trust)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// comparison is the report; both sides in the order given.
type comparison struct {
	Result string    `json:"result"` // same, beginning or fork
	Same   uint64    `json:"same"`   // entries that both have, from the first on
	Logs   []*copyOf `json:"logs"`
}

type copyOf struct {
	Dir        string `json:"dir"`
	Size       uint64 `json:"size"`
	Root       string `json:"root"`
	Checkpoint string `json:"checkpoint"`
}

func diff(out io.Writer, dirs []string, trust string, asJSON bool) error {
	var logs []*mirror.Log
	c := &comparison{}
	for _, dir := range dirs {
		l, err := mirror.Open(dir, trust)
		if err != nil {
			return cli.Unreadable(err)
		}
		logs = append(logs, l)
		c.Logs = append(c.Logs, &copyOf{dir, l.Checkpoint.Size, hex.EncodeToString(l.Checkpoint.Root[:]), string(l.Note)})
	}
	if err := c.compare(logs[0], logs[1]); err != nil {
		return cli.Unreadable(err)
	}
	if err := c.print(out, asJSON); err != nil {
		return cli.Unreadable(err)
	}
	if c.Result == "fork" {
		return cli.Exit(cli.Evidence, "")
	}
	return nil
}

// compare finds, by bisection over the roots of all sizes, how many entries
// the two have in common.
func (c *comparison) compare(a, b *mirror.Log) error {
	small := min(a.Checkpoint.Size, b.Checkpoint.Size)
	var failed error
	differ := func(n int) bool {
		x, err := a.RootAt(uint64(n))
		y, err2 := b.RootAt(uint64(n))
		if err != nil || err2 != nil {
			if failed = err; err == nil {
				failed = err2
			}
			return true
		}
		return x != y
	}
	c.Result = "fork"
	if !differ(int(small)) {
		c.Same, c.Result = small, "beginning"
		if a.Checkpoint.Size == b.Checkpoint.Size {
			c.Result = "same"
		}
		return nil
	}
	c.Same = uint64(sort.Search(int(small), func(n int) bool { return differ(n + 1) }))
	return failed
}

func (c *comparison) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return cli.PrintJSON(out, c)
	}
	text := map[string]string{
		"same":      "the same log of %d entries\n",
		"beginning": "one is the beginning of the other, %d entries long\n",
		"fork":      "FORK: the TPM certified two histories, alike in their first %d entries\n",
	}[c.Result]
	if _, err := fmt.Fprintf(out, text, c.Same); err != nil {
		return err
	}
	for _, l := range c.Logs {
		if _, err := fmt.Fprintf(out, "\n%s: %d entries, root %s\n", l.Dir, l.Size, l.Root); err != nil {
			return err
		}
		if c.Result != "fork" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%s", l.Checkpoint); err != nil {
			return err
		}
	}
	return nil
}
