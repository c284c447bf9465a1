// Package verify is "touchmark-audit verify", which gives the verdict on a log, and
// "certificate", which prints the certificates that the log leaves after that. The
// verdict is tpm/audit's.
package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"touchmark/tpm/audit"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/cli"
	"touchmark/tpm/cli/challenge"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// options are what the commands are asked; what an audit is given comes from them.
type options struct {
	trust            string
	proofs, previous []string
	golden           []string
	since            string
	name             string // of a key
	challenge        string
	answer           string
	predecessor      string
	predecessorTrust string
	successor        string
	successorTrust   string
	json, quiet      bool
	binding          bool // of certificate: the request, not the certificate
}

// Command is "touchmark-audit verify".
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "verify LOGDIR --trust DIR",
		Short: "Give the verdict on a log",
		Long: `Replay a published log against the TPM's attestations, the policy and the
token's key, and report findings by severity: evidence, warning, info.

A complete older copy of a log looks clean by itself. Proofs (FILE.tmproof) and
checkpoints kept from earlier show that it was rolled back.

With --since, the checkpoint up to which the log was audited before, only what
came after it is audited: keep the checkpoint of each audit for the next.

With --challenge and --answer (see 'challenge') freshness is proven. With
--predecessor or --successor and their trust the logs must agree on who follows
whom.`,
		Example: `  touchmark-audit verify log --trust trust
  touchmark-audit verify log --trust trust --proof demo.db.tar.gz.tmproof
  touchmark-audit verify log --trust trust --since last-week/checkpoint
  touchmark-audit verify log --trust trust --challenge monday.challenge --answer monday.answer
  touchmark-audit verify log --trust trust --predecessor old/log --predecessor-trust old/trust
  touchmark-audit verify log --trust trust --previous last-week/checkpoint --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verify(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], o)
		},
	}
	cli.TrustFlag(cmd, &o.trust)
	cmd.Flags().StringArrayVar(&o.proofs, "proof", nil, "a proof of this log, from anywhere (repeatable)")
	cmd.Flags().StringArrayVar(&o.previous, "previous", nil, "a checkpoint of this log, from earlier (repeatable)")
	cmd.Flags().StringArrayVar(&o.golden, "golden", nil, "what a build of the board's image published: each start must have booted one of those given (repeatable)")
	cmd.Flags().StringVar(&o.since, "since", "", "the checkpoint up to which the log was audited before")
	cmd.Flags().StringVar(&o.challenge, "challenge", "", "a challenge that the board was given")
	cmd.Flags().StringVar(&o.answer, "answer", "", "its answer, which proves freshness")
	cmd.MarkFlagsRequiredTogether("challenge", "answer")
	cmd.Flags().StringVar(&o.predecessor, "predecessor", "", "published log that this one goes on from")
	cmd.Flags().StringVar(&o.predecessorTrust, "predecessor-trust", "", "its trust directory")
	cmd.MarkFlagsRequiredTogether("predecessor", "predecessor-trust")
	cmd.Flags().StringVar(&o.successor, "successor", "", "published log that goes on from this one")
	cmd.Flags().StringVar(&o.successorTrust, "successor-trust", "", "its trust directory")
	cmd.MarkFlagsRequiredTogether("successor", "successor-trust")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&o.quiet, "quiet", false, "no progress bar")
	return cmd
}

func verify(out, stderr io.Writer, dir string, o options) error {
	r, err := o.audit(stderr, dir, o.trust)
	if err == nil {
		err = o.neighbours(stderr, r)
	}
	if err != nil {
		return cli.Unreadable(err)
	}
	if err := o.print(out, r); err != nil {
		return cli.Unreadable(err)
	}
	switch r.Verdict {
	case finding.Clean:
		return nil
	case finding.Warnings:
		return cli.Exit(cli.Warnings, "")
	}
	return cli.Exit(cli.Evidence, "")
}

// audit gives the verdict on one log.
func (o options) audit(stderr io.Writer, dir, trust string) (*report.Report, error) {
	in, err := o.input(dir, trust)
	if err != nil {
		return nil, err
	}
	p := newProgress(stderr, o.quiet)
	defer p.clear()
	in.Progress = p.step
	return audit.Run(in)
}

// neighbours audits the logs before and after, and compares who they say
// follows whom. What is wrong with those logs themselves is theirs.
func (o options) neighbours(stderr io.Writer, of *report.Report) error {
	alone := options{quiet: o.quiet}
	if o.predecessor != "" {
		before, err := alone.audit(stderr, o.predecessor, o.predecessorTrust)
		if err != nil {
			return fmt.Errorf("%s: %w", o.predecessor, err)
		}
		report.Continuity(before, of, of)
	}
	if o.successor == "" {
		return nil
	}
	after, err := alone.audit(stderr, o.successor, o.successorTrust)
	if err != nil {
		return fmt.Errorf("%s: %w", o.successor, err)
	}
	report.Continuity(of, after, of)
	return nil
}

func (o options) input(dir, trust string) (in audit.Input, err error) {
	if in.Trust, err = cli.ReadTrust(trust); err != nil {
		return in, err
	}
	published, err := tiles.Open(dir)
	if err != nil {
		return in, err
	}
	if in.Pending, err = published.Pending(); err != nil { // before the checkpoint: see Tiles.Pending
		return in, err
	}
	if in.Checkpoint, err = published.Checkpoint(); err != nil {
		return in, fmt.Errorf("%w (is %s a published log?)", err, dir)
	}
	in.Entries, in.Start = published.Entries, spread
	in.Tile = published.HashTile
	return in, o.kept(&in)
}

// kept adds what the auditor has besides the log.
func (o options) kept(in *audit.Input) (err error) {
	if in.Proofs, err = readAll(o.proofs, cli.ReadProof); err != nil {
		return err
	}
	if in.Previous, err = readAll(o.previous, readCheckpoint); err != nil {
		return err
	}
	if in.Golden, err = readAll(o.golden, readGolden); err != nil {
		return err
	}
	if o.challenge != "" {
		if in.Dialogue, err = challenge.ReadDialogue(o.challenge, o.answer); err != nil {
			return err
		}
	}
	if o.since != "" {
		in.Since, err = readCheckpoint(o.since)
	}
	return err
}

// readAll reads files of one kind, in the order given.
func readAll[T any](paths []string, read func(string) (T, error)) (all []T, err error) {
	for _, path := range paths {
		x, err := read(path)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

func readCheckpoint(path string) ([]byte, error) { return cli.ReadFile(path, ledger.MaxCheckpoint) }

// readGolden reads what a build published.
func readGolden(path string) (golden.Image, error) {
	text, err := cli.ReadFile(path, golden.MaxText)
	if err != nil {
		return golden.Image{}, err
	}
	g, err := golden.Parse(text)
	if err != nil {
		return g, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// spread begins to run f(0..n-1) on all processors.
func spread(n int, f func(int)) (wait func()) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	return wg.Wait
}

func (o options) print(out io.Writer, r *report.Report) error {
	if !o.json {
		_, err := io.WriteString(out, human(r))
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

var verdicts = map[string]string{
	finding.Clean:    "CLEAN: nothing above information",
	finding.Warnings: "WARNINGS: no evidence of tampering, but read the above",
	finding.Tampered: "EVIDENCE: this log is not what an honest appliance committed",
}

func human(r *report.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log       %s\n", r.Origin)
	fmt.Fprintf(&b, "entries   %d committed, %d pending, %d commits, %d boots\n", r.Size, r.Pending, r.Commits, r.Boots)
	if !r.First.IsZero() {
		fmt.Fprintf(&b, "time      %s to %s\n", r.First.Format("2006-01-02 15:04:05"), r.Last.Format("2006-01-02 15:04:05 UTC"))
	}
	fmt.Fprintf(&b, "jobs      %d%s\n", r.Intents, items(r.Items))
	if r.Root != "" {
		fmt.Fprintf(&b, "root      %s\nHEAD      %s\n", r.Root, r.Head)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%-9s %s%s\n          %s\n", strings.ToUpper(string(f.Severity)), f.Code, times(f.Count), f.Explanation)
		if len(f.Entries) > 0 {
			fmt.Fprintf(&b, "          entries %s\n", list(f.Entries))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", verdicts[r.Verdict])
	return b.String()
}

func items(by map[string]uint64) string {
	var parts []string
	for state, n := range by {
		parts = append(parts, fmt.Sprintf("%d %s", n, state))
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return " (items: " + strings.Join(parts, ", ") + ")"
}

func times(n uint64) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" (%d times, the first:)", n)
}

func list(entries []uint64) string {
	const most = 12
	var parts []string
	for _, e := range entries[:min(len(entries), most)] {
		parts = append(parts, fmt.Sprint(e))
	}
	if len(entries) > most {
		parts = append(parts, "...")
	}
	return strings.Join(parts, " ")
}
