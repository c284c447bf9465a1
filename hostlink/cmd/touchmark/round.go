package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
)

func (a *app) roundCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "round [RULE...]",
		Short: "Rounds of the [[watch]] rules: what waits, since when, when it is put before the operator",
		Long: "touchmark-hostd snapshots the repositories of its [[watch]] rules whenever they change, puts what changed\n" +
			"before the operator in rounds, and publishes it signed (docs/rounds.md). Without a command this lists the\n" +
			"rules; the exit code is 8 if what changed in one has waited for longer than its rule allows, 9 if anything\n" +
			"else is wrong with one.",
		Example: "  touchmark round\n  touchmark round open core extra",
		RunE:    func(_ *cobra.Command, rules []string) error { return a.round(api.RoundList, rules) },
	}
	sub := func(run func(rules []string) error, use, short, long, example string, args cobra.PositionalArgs) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: args,
			RunE: func(_ *cobra.Command, rules []string) error { return run(rules) }})
	}
	ask := func(action string) func([]string) error {
		return func(rules []string) error { return a.round(action, rules) }
	}
	sub(ask(api.RoundOpen), "open [RULE...]", "Open a round now, whatever the schedule says", "Puts what waits before the operator now: of the rules named, or of all. It asks again for what was denied, too.",
		"  touchmark round open", nil)
	sub(ask(api.RoundUrgent), "urgent RULE...", "Open an urgent round now, in the rule's urgent class",
		"As open, in the policy class that the rule names as urgent: the policy gives it a rate of its own.", "  touchmark round urgent core", someRules)
	sub(func(rules []string) error { return a.waitPublished(rules[0]) }, "wait RULE", "Wait until what is staged now is published",
		"Snapshots what is staged now and waits until that, or something newer, is published. It fails if the operator\ndenies it (7) or a round ends without a signature (8); then it waits on, for the next round.",
		"  touchmark round wait core", oneRule)
	return c
}

func someRules(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return exitf(api.Usage, "name at least one rule: %s RULE", c.CommandPath())
	}
	return nil
}

func oneRule(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return exitf(api.Usage, "name one rule: %s RULE", c.CommandPath())
	}
	return nil
}

func (a *app) round(action string, rules []string) error {
	r, err := a.ask(&api.Request{Op: api.OpRound, Action: action, Rules: rules})
	if err != nil {
		return err
	}
	if a.json {
		a.object(map[string]any{"ok": true, "rounds": append([]api.Round{}, r.Rounds...)})
	} else {
		for _, o := range r.Rounds {
			a.println(describeRound(&o))
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
	return exitf(code, "%s", strings.Join(wrong, "; "))
}

// describeRound is a rule in a line.
func describeRound(o *api.Round) string {
	text := fmt.Sprintf("%s (%s): published %d", o.Rule, o.Class, o.Published)
	switch {
	case o.Snapshot == 0:
		text += ", nothing waits"
	case len(o.Unsigned) == 0:
		text += fmt.Sprintf(", %d is being published", o.Snapshot)
	default:
		text += fmt.Sprintf(", %d waits since %s: %s", o.Snapshot, o.Waiting, strings.Join(shortList(o.Unsigned), ", "))
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

// shortList says how many more there are behind the first few.
func shortList(names []string) []string {
	const most = 4
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
}

// repoCmd runs a program of pacman's: repo-add or repo-remove.
func (a *app) repoCmd(program, short, example string) *cobra.Command {
	return &cobra.Command{
		Use:   program + " [" + program + "'s flags] DATABASE PACKAGE...",
		Short: short,
		Long: "Runs pacman's " + program + " in the staging directory of a [[watch]] rule, without a signature, then waits until\n" +
			"the new database is signed and published. The program itself only warns when it cannot sign, and leaves an\n" +
			"unsigned database; this fails (exit codes 7, 8 …), and what clients see stays as it was. What changed stays\n" +
			"staged: it is published with the next database that is signed. The socket is $TOUCHMARK_SOCKET's.",
		Example:            example,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return c.Help()
			}
			return a.repo(program, args)
		},
	}
}

func (a *app) repo(program string, args []string) error {
	db := ""
	for _, arg := range args {
		switch {
		case signs(arg):
			return exitf(api.Usage, "%s: signatures are made by the appliance: leave it out", arg)
		case db == "" && !strings.HasPrefix(arg, "-"):
			db = arg
		}
	}
	if db == "" {
		return exitf(api.Usage, "name a database: touchmark %s DATABASE PACKAGE", program)
	}
	rule, err := a.ruleOver(db)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.errs, a.errs
	if err := cmd.Run(); err != nil {
		return exitf(api.BadInput, "%s failed: %w; nothing was asked for", program, err)
	}
	return a.waitPublished(rule)
}

// signs reports whether an option has repo-add sign: alone, with its value, or among
// others behind one dash, as newer versions take them.
func signs(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	short := strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--")
	return name == "--sign" || name == "--key" || short && strings.ContainsAny(name, "sk")
}

// ruleOver finds the rule whose staging directory holds a database.
func (a *app) ruleOver(db string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(db))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", exitf(api.BadInput, "%w", api.Plain(err))
	}
	r, err := a.ask(&api.Request{Op: api.OpRound, Action: api.RoundList})
	if err != nil {
		return "", err
	}
	for _, o := range r.Rounds {
		if staged, err := filepath.EvalSymlinks(o.Dir); err == nil && staged == dir {
			return o.Rule, nil
		}
	}
	return "", exitf(api.Usage, "no [[watch]] rule has dir = %q: add one to hostd.toml (docs/rounds.md)", dir)
}

// waitPublished waits until what is staged is published. Ctrl-C ends the
// waiting: what is staged goes on to be signed.
func (a *app) waitPublished(rule string) error {
	c, err := a.daemon().Follow(&api.Request{Op: api.OpRound, Action: api.RoundWait, Rules: []string{rule}})
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
	if a.json {
		a.object(map[string]any{"ok": true, "rule": rule})
		return nil
	}
	fmt.Fprintf(a.out, "%s is signed and published\n", rule)
	return nil
}
