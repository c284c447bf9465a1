package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/hostd/api"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/ledgerstore/durable"
)

func (a *app) challengeCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "challenge [--out ANSWER] FILE",
		Short: "Have the appliance answer an auditor's challenge, without stopping it",
		Long: `The auditor makes a challenge (touchmark-audit challenge). The appliance's TPM
attests the log's state over its nonce, which no older copy of the log can
contain; the answer goes back to the auditor, who judges it (touchmark-audit
verify --challenge FILE --answer ANSWER). A challenge with a credential is for a
stopped board: touchmark-appliance answer.`,
		Example: "  touchmark challenge monday.challenge",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.challenge(args[0], out) },
	}
	c.Flags().StringVar(&out, "out", "", "where to write the answer (default: FILE with .answer)")
	return c
}

func (a *app) challenge(path, out string) error {
	text, err := api.ReadSmall(path, challenge.MaxText)
	if err != nil {
		return exitf(api.BadInput, "challenge: %w", err)
	}
	if _, err := challenge.Parse(text); err != nil {
		return exitf(api.BadInput, "%s: %w", path, err)
	}
	r, err := a.ask(&api.Request{Op: api.OpChallenge, Text: text})
	if err != nil {
		return err
	}
	if len(r.Answer) == 0 {
		return exitf(api.Internal, "touchmark-hostd gave no answer")
	}
	if out == "" {
		out = strings.TrimSuffix(path, ".challenge") + ".answer"
	}
	if err := durable.WriteFile(out, r.Answer, 0o644); err != nil {
		return exitf(api.CannotWrite, "%s: %w", out, plainWrite(err))
	}
	return a.wrote(out)
}

// wrote names the file that a command made.
func (a *app) wrote(path string) error {
	if a.json {
		a.object(map[string]any{"ok": true, "file": path})
		return nil
	}
	fmt.Fprintln(a.out, path)
	return nil
}
