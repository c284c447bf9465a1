package status

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
)

// JobsCommand is "touchmark jobs".
func JobsCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "jobs",
		Example: "  touchmark jobs --json",
		Short:   "List jobs that go on, and those whose result nobody has taken",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return jobs(a) },
	}
}

func jobs(a *cli.App) error {
	r, err := a.Ask(&api.Request{Op: api.OpJobs})
	if err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "jobs": append([]api.Job{}, r.Jobs...)})
		return nil
	}
	for _, j := range r.Jobs {
		text := jobState(j)
		if j.State == "signed" {
			text = fmt.Sprintf("signed: touchmark fetch %s %s", j.Job, strings.Join(j.Names, " "))
		}
		fmt.Fprintf(a.Out, "%s  %s  %s: %s  %s\n", j.Job, j.Created, j.Class, strings.Join(j.Names, ", "), text)
	}
	if len(r.Jobs) == 0 {
		fmt.Fprintln(a.Errs, "touchmark: no jobs")
	}
	return nil
}

// jobState is how a job is, for people.
func jobState(j api.Job) string {
	switch {
	case j.Error != "":
		return j.Error
	case j.State == api.EventApprovals:
		return fmt.Sprintf("waits for approvals: %d of %d", len(j.Persons), j.Need) + by(j.Persons)
	case j.State == api.StateApproved:
		return j.State + by(j.Persons)
	}
	return j.State
}

func by(persons []string) string {
	if len(persons) == 0 {
		return ""
	}
	return " by " + strings.Join(persons, ", ")
}
