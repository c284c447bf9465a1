// Package round is "touchmark round": the rounds in which touchmark-hostd has what
// changed in a repository signed (docs/rounds.md), and "repo-add" and "repo-remove",
// which change one and wait for that.
package round

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
)

// Command is "touchmark round" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "round [RULE...]",
		Short: "Rounds of the [[watch]] rules: what waits, since when, when it is put before the operator",
		Long: "touchmark-hostd snapshots the repositories of its [[watch]] rules whenever they change, puts what changed\n" +
			"before the operator in rounds, and publishes it signed (docs/rounds.md). Without a command this lists the\n" +
			"rules; the exit code is 8 if what changed in one has waited for longer than its rule allows, 9 if anything\n" +
			"else is wrong with one.",
		Example: "  touchmark round\n  touchmark round open core extra",
		RunE:    func(_ *cobra.Command, rules []string) error { return round(a, api.RoundList, rules) },
	}
	sub := func(run func(rules []string) error, use, short, long, example string, args cobra.PositionalArgs) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: args,
			RunE: func(_ *cobra.Command, rules []string) error { return run(rules) }})
	}
	ask := func(action string) func([]string) error {
		return func(rules []string) error { return round(a, action, rules) }
	}
	sub(ask(api.RoundOpen), "open [RULE...]", "Open a round now, whatever the schedule says", "Puts what waits before the operator now: of the rules named, or of all. It asks again for what was denied, too.",
		"  touchmark round open", nil)
	sub(ask(api.RoundUrgent), "urgent RULE...", "Open an urgent round now, in the rule's urgent class",
		"As open, in the policy class that the rule names as urgent: the policy gives it a rate of its own.", "  touchmark round urgent core", someRules)
	sub(func(rules []string) error { return waitPublished(a, rules[0]) }, "wait RULE", "Wait until what is staged now is published",
		"Snapshots what is staged now and waits until that, or something newer, is published. It fails if the operator\ndenies it (7) or a round ends without a signature (8); then it waits on, for the next round.",
		"  touchmark round wait core", oneRule)
	return c
}

func someRules(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return api.Errorf(api.Usage, "name at least one rule: %s RULE", c.CommandPath())
	}
	return nil
}

func oneRule(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return api.Errorf(api.Usage, "name one rule: %s RULE", c.CommandPath())
	}
	return nil
}

func round(a *cli.App, action string, rules []string) error {
	r, err := a.Ask(&api.Request{Op: api.OpRound, Action: action, Rules: rules})
	if err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "rounds": append([]api.Round{}, r.Rounds...)})
	} else {
		for _, o := range r.Rounds {
			a.Println(Describe(&o))
		}
	}
	if action == api.RoundList {
		return alarmed(r.Rounds)
	}
	return nil
}

// alarmed says which rules something is wrong with; what has waited for too long
// gives the exit code.
func alarmed(rounds []api.Round) error {
	var wrong []string
	code := api.DeviceFault
	for _, o := range rounds {
		if o.Alarm == "" {
			continue
		}
		if o.Stale {
			code = api.TimedOut
		}
		wrong = append(wrong, "rule "+o.Rule+": "+o.Alarm)
	}
	if len(wrong) == 0 {
		return nil
	}
	return api.Errorf(code, "%s", strings.Join(wrong, "; "))
}

// Describe is a rule in a line.
func Describe(o *api.Round) string {
	text := fmt.Sprintf("%s (%s): published %d", o.Rule, o.Class, o.Published)
	switch {
	case o.Snapshot == 0:
		text += ", nothing waits"
	case len(o.Unsigned) == 0:
		text += fmt.Sprintf(", %d is being published", o.Snapshot)
	default:
		text += fmt.Sprintf(", %d waits since %s: %s", o.Snapshot, o.Waiting, strings.Join(ShortList(o.Unsigned), ", "))
	}
	switch {
	case o.Urgent && o.Open:
		text += "; an urgent round is open until " + o.Until
	case o.Always:
		text += "; rounds are always open"
	case o.Open:
		text += "; the round is open until " + o.Until
	case o.Next != "":
		text += "; next round " + o.Next
	default:
		text += "; rounds are opened with touchmark round open"
	}
	if o.Why != "" {
		text += "; " + o.Why
	}
	return text
}

// ShortList says how many more there are behind the first few.
func ShortList(names []string) []string {
	const most = 4
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
}

// waitPublished waits until what is staged is published. Ctrl-C ends the
// waiting: what is staged goes on to be signed.
func waitPublished(a *cli.App, rule string) error {
	c, err := a.Daemon().Follow(&api.Request{Op: api.OpRound, Action: api.RoundWait, Rules: []string{rule}})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
		case <-over:
		}
		_ = c.Close() // ends Next too
	}()
	r, err := c.Next()
	if err != nil {
		return err
	}
	if err := client.Said(r); err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "rule": rule})
		return nil
	}
	fmt.Fprintf(a.Out, "%s is signed and published\n", rule)
	return nil
}
