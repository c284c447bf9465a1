// Package approvals is "touchmark approvals", where a host asks people to approve
// what shall be signed and collects what they say, and "touchmark approve", with
// which each of them does so on another machine, over copies of their own. What an
// approver holds a request against is in hostlink/approve.
package approvals

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/sign"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// Command is "touchmark approvals" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "approvals",
		Short: "Ask people to approve what shall be signed, and collect their approvals",
		Long: `A class of the policy may demand that people approve a request, each on another
machine with a copy of their own (touchmark approve). A request that needs
approvals waits in touchmark-hostd until enough of them came, over restarts and
without a client; the appliance hears of it after that.`,
		Example: `  touchmark approvals request --class iso --timeout 72h --out iso.request archlinux.iso
  touchmark approvals add iso.request.alice iso.request.bob
  touchmark sign --class iso archlinux.iso`,
	}
	c.AddCommand(requestCommand(a), addCommand(a), withdrawCommand(a))
	return c
}

func requestCommand(a *cli.App) *cobra.Command {
	var f sign.Options
	var job, out string
	c := &cobra.Command{
		Use:   "request --out REQUEST FILE... | --job JOB",
		Short: "Make a request for approval of files, or show that of a job that waits",
		Long: `Write the request that approvers sign. With FILEs it is made now, as touchmark
sign would, and left to wait; the same touchmark sign takes it up later. With
--job it is that of a job which waits already (touchmark jobs), with the
approvals that it has.`,
		Example: "  touchmark approvals request --class iso --timeout 72h --out iso.request archlinux.iso\n  touchmark approvals request --job 7d7c… --out iso.request",
		RunE: func(c *cobra.Command, files []string) error {
			switch {
			case out == "":
				return api.Errorf(api.Usage, "approvals request needs --out")
			case (job == "") == (len(files) == 0):
				return api.Errorf(api.Usage, "name files, or a job with --job: %s", c.CommandPath())
			case job == "":
				var err error
				if job, err = sign.Park(a, files, &f); err != nil {
					return err
				}
			}
			return request(a, job, out)
		},
	}
	f.Ask(c)
	c.Flags().StringVar(&job, "job", "", "a job that waits")
	c.Flags().StringVar(&out, "out", "", "where to write the request")
	return c
}

func request(a *cli.App, job, out string) error {
	r, err := a.Ask(&api.Request{Op: api.OpApproval, Job: job})
	if err != nil {
		return err
	}
	if err := output.Write(out, r.Approval, 0o644); err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "job": job, "request": out, "persons": append([]string{}, r.Persons...), "need": r.Need})
		return nil
	}
	a.Println(fmt.Sprintf("%s: job %s, %s", out, job, counted(r)))
	return nil
}

func addCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "add APPROVAL...",
		Short:   "Add approvals to the requests that wait for them",
		Long:    "Hand approvals (touchmark approve) to touchmark-hostd. Each is judged by the policy in force; one that is wrong\nis refused with the reason and spoils nothing.",
		Example: "  touchmark approvals add iso.request.alice iso.request.bob",
		Args:    cli.SomeFiles,
		RunE: func(_ *cobra.Command, paths []string) error {
			for _, p := range paths {
				if err := addApproval(a, p); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func addApproval(a *cli.App, path string) error {
	n, err := api.ReadSmall(path, message.MaxNote)
	if err != nil {
		return api.Errorf(api.BadInput, "approval: %w", err)
	}
	r, err := a.Ask(&api.Request{Op: api.OpApprove, Note: n})
	if err != nil {
		return api.Errorf(api.CodeOf(err, api.Usage), "%s: %w", path, err)
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "approval": path, "job": r.Job, "added": append([]string{}, r.Added...), "persons": append([]string{}, r.Persons...), "need": r.Need})
		return nil
	}
	added := "nobody new"
	if len(r.Added) > 0 {
		added = strings.Join(r.Added, ", ")
	}
	a.Println(fmt.Sprintf("%s: %s; job %s, %s", path, added, r.Job, counted(r)))
	return nil
}

func withdrawCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "withdraw JOB...",
		Short:   "Take requests back that wait for approvals",
		Long:    "End requests that wait for approvals: whoever waits for one is told, and approvals for it are worth nothing\nfrom then on. JOB is the number that touchmark jobs and approvals request print.",
		Example: "  touchmark approvals withdraw 7d7c…",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, jobs []string) error {
			for _, job := range jobs {
				if _, err := a.Ask(&api.Request{Op: api.OpWithdraw, Job: job}); err != nil {
					return err
				}
				if a.JSON {
					a.Object(map[string]any{"ok": true, "job": job})
					continue
				}
				a.Println("withdrawn: job " + job)
			}
			return nil
		},
	}
}

func counted(r *api.Response) string {
	s := fmt.Sprintf("%d of %d approved", len(r.Persons), r.Need)
	if len(r.Persons) > 0 {
		s += ": " + strings.Join(r.Persons, ", ")
	}
	return s
}
