// Package policy has the commands that look at a policy before it is signed or
// brought to the board.
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/policy"
	"touchmark/appliance/policy/replay"
	"touchmark/appliance/policy/review"
	"touchmark/tpm/ledgerstore/tiles"
)

// Command is policy.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Look at a policy before it is signed or brought to the board",
		Long: `Look at a policy: its TOML text, or the note that administrators signed. Nothing
here needs a board, a TPM or a token, or changes anything. Policies are signed
with 'touchmark policy sign'.

Exit codes: 0 good, 1 a file cannot be read, 2 wrong usage, 6 the policy is
wrong, does not follow, is not signed as it must be, or would have refused a job.`,
		Example: `  touchmark-appliance policy check --in-force policy-1.note policy-2.toml
  touchmark-appliance policy explain policy-2.toml
  touchmark-appliance policy simulate policy-2.toml /srv/www/touchmark-log`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(cli.Begun(checkPolicyCommand()), cli.Begun(explainPolicyCommand()), cli.Begun(simulatePolicyCommand()))
	return c
}

// badPolicy has said what is wrong already.
type badPolicy struct{ error }

func (badPolicy) Is(target error) bool { return target == cli.ErrPolicy }

// maxPolicyFile is a note as large as a genesis entry can hold, and then some.
const maxPolicyFile = 64 << 10

// readCandidate reads a policy. Of a wrong one it lists every mistake.
func readCandidate(w io.Writer, path string, asJSON bool) (*review.Candidate, error) {
	raw, err := cli.ReadSmall(path, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	c, err := review.Read(raw)
	if err == nil {
		return c, nil
	}
	var all policy.Errors
	if !errors.As(err, &all) {
		return nil, badPolicy{fmt.Errorf("%s: %w", path, err)}
	}
	if asJSON {
		err = encode(w, mistakes(all))
	} else {
		for _, e := range all {
			_, err = fmt.Fprintf(w, "%s: %v\n", path, e)
		}
	}
	return nil, errors.Join(err, badPolicy{fmt.Errorf("%s: %d to be corrected", path, len(all))})
}

// mistake is one place in a policy, as --json shows it. Line and column start
// with 1; they are 0 when the policy as a whole is meant.
type mistake struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
}

type checked struct {
	OK        bool      `json:"ok"`
	Origin    string    `json:"origin,omitempty"`
	Serial    uint64    `json:"serial,omitempty"`
	Hash      string    `json:"hash,omitempty"`
	Follows   bool      `json:"follows"`   // the policy of --in-force
	Signed    bool      `json:"signed"`    // as it must be
	Recovered bool      `json:"recovered"` // by recovery keys in place of administrators
	Problem   string    `json:"problem,omitempty"`
	Remarks   []string  `json:"remarks,omitempty"`
	Mistakes  []mistake `json:"mistakes,omitempty"`
}

func mistakes(all policy.Errors) checked {
	var c checked
	for _, e := range all {
		c.Mistakes = append(c.Mistakes, mistake{e.Line, e.Column, e.Reason})
	}
	return c
}

func encode(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

type policyFlags struct {
	inForce string
	json    bool
}

func (f *policyFlags) to(c *cobra.Command) {
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
}

func checkPolicyCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "check [--in-force FILE] FILE",
		Short: "Whether a policy is good, follows the one in force, and is signed as it must be",
		Long: `Check a policy: every mistake is told with its line, column and what to write
instead. With --in-force, whether it follows that one and, if it is a note,
whether it is signed as that one demands; without, whether a first policy is
signed by its own administrators. What is legal and probably not meant is
remarked, and does no harm to the exit code; nor does a text that is not signed.`,
		Example: `  touchmark-appliance policy check policy.toml
  touchmark-appliance policy check --json --in-force policy-1.note policy-2.note`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return checkPolicy(c.OutOrStdout(), args[0], f) },
	}
	f.to(c)
	c.Flags().StringVar(&f.inForce, "in-force", "", "the policy that this one shall follow, note or text")
	return c
}

func checkPolicy(w io.Writer, path string, f policyFlags) error {
	c, err := readCandidate(w, path, f.json)
	if err != nil {
		return err
	}
	var old *review.Candidate
	if f.inForce != "" {
		if old, err = readCandidate(io.Discard, f.inForce, false); err != nil {
			return err
		}
	}
	v := checked{Origin: c.Policy.Origin, Serial: c.Policy.Serial, Hash: fmt.Sprintf("%x", c.Policy.Hash), Remarks: review.Remarks(c.Policy)}
	problem := c.Follows(old)
	v.Follows = old != nil && problem == nil
	if problem == nil {
		v.Recovered, problem = c.Signed(old)
		v.Signed = problem == nil
		if errors.Is(problem, review.ErrUnsigned) {
			problem = nil
		}
	}
	if v.OK = problem == nil; !v.OK {
		v.Problem = problem.Error()
	}
	if err := sayChecked(w, path, &v, f.json); err != nil || v.OK {
		return err
	}
	return badPolicy{fmt.Errorf("%s: %w", path, problem)}
}

func sayChecked(w io.Writer, path string, v *checked, asJSON bool) error {
	if asJSON {
		return encode(w, v)
	}
	state := "not signed yet"
	switch {
	case v.Recovered:
		state = "signed by the RECOVERY keys"
	case v.Signed:
		state = "signed as it must be"
	case !v.OK:
		state = "NOT TO BE USED: " + v.Problem
	}
	if _, err := fmt.Fprintf(w, "%s: policy %d of %s, hash %s: %s\n", path, v.Serial, v.Origin, v.Hash, state); err != nil {
		return err
	}
	for _, r := range v.Remarks {
		if _, err := fmt.Fprintf(w, "look again: %s\n", r); err != nil {
			return err
		}
	}
	return nil
}

func explainPolicyCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:     "explain FILE",
		Short:   "Who can have what signed, how often, by whom approved, and who can change that",
		Example: "  touchmark-appliance policy explain policy.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := readCandidate(c.OutOrStdout(), args[0], f.json)
			if err != nil {
				return err
			}
			e := review.Explain(p.Policy)
			return say(c.OutOrStdout(), f.json, e, e.Lines())
		},
	}
	f.to(c)
	return c
}

func say(w io.Writer, asJSON bool, v any, lines []string) error {
	if asJSON {
		return encode(w, v)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(w, l); err != nil {
			return err
		}
	}
	return nil
}

func simulatePolicyCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "simulate FILE LOG",
		Short: "What a policy would have made of a log: the jobs it would have refused, its fullest windows",
		Long: `Hold every job of a published log (a directory in tlog-tiles layout, or a copy of
one) against a policy, at the times of the log. The log is read as it stands:
whether it is to be believed is for 'touchmark-audit verify' to say.`,
		Example: "  touchmark-appliance policy simulate policy-2.toml /srv/www/touchmark-log",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return simulatePolicy(c.OutOrStdout(), args[0], args[1], f.json)
		},
	}
	f.to(c)
	return c
}

func simulatePolicy(w io.Writer, path, log string, asJSON bool) error {
	c, err := readCandidate(w, path, asJSON)
	if err != nil {
		return err
	}
	r, err := replayed(c.Policy, log)
	if errors.Is(err, replay.ErrOtherLog) {
		return badPolicy{fmt.Errorf("%s: %w", log, err)}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", log, err)
	}
	if err := say(w, asJSON, r, r.Lines()); err != nil {
		return err
	}
	if r.Refused > 0 {
		return badPolicy{fmt.Errorf("%s would have refused %d of %d jobs", path, r.Refused, r.Jobs)}
	}
	return nil
}

func replayed(p *policy.Policy, log string) (*replay.Report, error) {
	t, err := tiles.Open(log)
	if err != nil {
		return nil, err
	}
	r := replay.New(p)
	for e, err := range t.Entries(0) {
		if err == nil {
			err = r.Add(e)
		}
		if err != nil {
			return nil, err
		}
	}
	report := r.Report()
	if report.Entries == 0 {
		return nil, errors.New("no entries: name the directory that is published")
	}
	return report, nil
}
