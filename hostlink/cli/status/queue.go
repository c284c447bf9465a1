package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/round"
	"touchmark/hostlink/hostd/api"
)

// QueueCommand is "touchmark queue".
func QueueCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "queue",
		Short: "Show what waits for the operator, in the order in which it comes to the display",
		Long: `Numbers the jobs as they come to the appliance's display; those that wait for
approvals first come when they have them. Behind them are the snapshots of
repositories that wait for a round. What ended, and nobody has taken, is under
touchmark jobs.`,
		Example: "  touchmark queue\n  touchmark queue --json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return queue(a) },
	}
}

func queue(a *cli.App) error {
	r, err := a.Ask(&api.Request{Op: api.OpJobs})
	if err != nil {
		return err
	}
	open := slices.DeleteFunc(slices.Clone(r.Jobs), func(j api.Job) bool { return j.State == "signed" || j.State == "ended" })
	rounds, err := waitingRounds(a)
	if err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "jobs": append([]api.Job{}, open...), "rounds": append([]api.Round{}, rounds...)})
		return nil
	}
	for _, line := range append(queueLines(open), roundLines(rounds)...) {
		a.Println(line)
	}
	if len(open)+len(rounds) == 0 {
		fmt.Fprintln(a.Errs, "touchmark: nothing waits")
	}
	return nil
}

// waitingRounds are the rules of which a snapshot waits; a daemon without rules
// has none.
func waitingRounds(a *cli.App) ([]api.Round, error) {
	r, err := a.Ask(&api.Request{Op: api.OpRound, Action: api.RoundList})
	switch {
	case err != nil && api.CodeOf(err, api.Usage) == api.Usage:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return slices.DeleteFunc(r.Rounds, func(o api.Round) bool { return o.Snapshot == 0 }), nil
}

// queueLines numbers what comes to the display.
func queueLines(jobs []api.Job) (lines []string) {
	n := 0
	for _, j := range jobs {
		place := "  -"
		if j.State != api.EventApprovals {
			n++
			place = fmt.Sprintf("%3d", n)
		}
		lines = append(lines, fmt.Sprintf("%s  %.16s  %s: %s  %s; since %s, until %s", place, j.Job, j.Class, strings.Join(round.ShortList(j.Names), ", "), jobState(j), j.Created, j.Deadline))
	}
	return lines
}

func roundLines(rounds []api.Round) (lines []string) {
	for _, o := range rounds {
		lines = append(lines, "round  "+round.Describe(&o))
	}
	return lines
}
