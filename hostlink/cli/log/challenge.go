package log

import (
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/tpm/audit/challenge"
)

// ChallengeCommand is "touchmark challenge".
func ChallengeCommand(a *cli.App) *cobra.Command {
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
		RunE:    func(_ *cobra.Command, args []string) error { return challenged(a, args[0], out) },
	}
	c.Flags().StringVar(&out, "out", "", "where to write the answer (default: FILE with .answer)")
	return c
}

func challenged(a *cli.App, path, out string) error {
	text, err := api.ReadSmall(path, challenge.MaxText)
	if err != nil {
		return api.Errorf(api.BadInput, "challenge: %w", err)
	}
	if _, err := challenge.Parse(text); err != nil {
		return api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	r, err := a.Ask(&api.Request{Op: api.OpChallenge, Text: text})
	if err != nil {
		return err
	}
	if len(r.Answer) == 0 {
		return api.Errorf(api.Internal, "touchmark-hostd gave no answer")
	}
	if out == "" {
		out = strings.TrimSuffix(path, ".challenge") + ".answer"
	}
	if err := output.Write(out, r.Answer, 0o644); err != nil {
		return err
	}
	a.Made(out)
	return nil
}
