package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

func (a *app) approvalsCmd() *cobra.Command {
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
	c.AddCommand(a.requestCmd(), a.addCmd(), a.withdrawCmd())
	return c
}

func (a *app) requestCmd() *cobra.Command {
	var f signFlags
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
				return exitf(api.Usage, "approvals request needs --out")
			case (job == "") == (len(files) == 0):
				return exitf(api.Usage, "name files, or a job with --job: %s", c.CommandPath())
			case job == "":
				var err error
				if job, err = a.park(files, &f); err != nil {
					return err
				}
			}
			return a.request(job, out)
		},
	}
	f.ask(c)
	c.Flags().StringVar(&job, "job", "", "a job that waits")
	c.Flags().StringVar(&out, "out", "", "where to write the request")
	return c
}

// park asks for a job and leaves it to wait for approvals.
func (a *app) park(paths []string, f *signFlags) (job string, err error) {
	format, total, err := checkAsked(paths, f)
	if err != nil {
		return "", err
	}
	files, s, err := a.prepare(paths, format, total, f, newProgress(a.errs, f.quiet))
	if err != nil {
		return "", err
	}
	defer s.Close()
	waits := false
	s.Event = func(e *api.Event) {
		if waits = waits || e.State == api.EventApprovals; waits && s.Kept {
			s.Leave()
		}
	}
	req, err := a.requestFor(files, f)
	if err != nil {
		return "", err
	}
	req.Park = true
	r, err := s.Wait(req)
	switch {
	case s.Left():
		return s.Job, nil
	case err != nil:
		return "", err
	}
	return "", client.Said(r)
}

func (a *app) request(job, out string) error {
	r, err := a.ask(&api.Request{Op: api.OpApproval, Job: job})
	if err != nil {
		return err
	}
	if err := durable.WriteFile(out, r.Approval, 0o644); err != nil {
		return exitf(api.CannotWrite, "%s: %w", out, plainWrite(err))
	}
	if a.json {
		a.object(map[string]any{"ok": true, "job": job, "request": out, "persons": append([]string{}, r.Persons...), "need": r.Need})
		return nil
	}
	a.println(fmt.Sprintf("%s: job %s, %s", out, job, counted(r)))
	return nil
}

func (a *app) addCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "add APPROVAL...",
		Short:   "Add approvals to the requests that wait for them",
		Long:    "Hand approvals (touchmark approve) to touchmark-hostd. Each is judged by the policy in force; one that is wrong\nis refused with the reason and spoils nothing.",
		Example: "  touchmark approvals add iso.request.alice iso.request.bob",
		Args:    someFiles,
		RunE: func(_ *cobra.Command, paths []string) error {
			for _, p := range paths {
				if err := a.addApproval(p); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) addApproval(path string) error {
	n, err := api.ReadSmall(path, message.MaxNote)
	if err != nil {
		return exitf(api.BadInput, "approval: %w", err)
	}
	r, err := a.ask(&api.Request{Op: api.OpApprove, Note: n})
	if err != nil {
		return exitf(codeOf(err), "%s: %w", path, err)
	}
	if a.json {
		a.object(map[string]any{"ok": true, "approval": path, "job": r.Job, "added": append([]string{}, r.Added...), "persons": append([]string{}, r.Persons...), "need": r.Need})
		return nil
	}
	added := "nobody new"
	if len(r.Added) > 0 {
		added = strings.Join(r.Added, ", ")
	}
	a.println(fmt.Sprintf("%s: %s; job %s, %s", path, added, r.Job, counted(r)))
	return nil
}

func (a *app) withdrawCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "withdraw JOB...",
		Short:   "Take requests back that wait for approvals",
		Long:    "End requests that wait for approvals: whoever waits for one is told, and approvals for it are worth nothing\nfrom then on. JOB is the number that touchmark jobs and approvals request print.",
		Example: "  touchmark approvals withdraw 7d7c…",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, jobs []string) error {
			for _, job := range jobs {
				if _, err := a.ask(&api.Request{Op: api.OpWithdraw, Job: job}); err != nil {
					return err
				}
				if a.json {
					a.object(map[string]any{"ok": true, "job": job})
					continue
				}
				a.println("withdrawn: job " + job)
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

// ask are the flags that say what is asked for.
func (f *signFlags) ask(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.class, "class", "", "policy class (default: the first that fits the names)")
	fl.StringVar(&f.alg, "hash", "sha256", "sha256, sha384 or sha512; keys on P-384 need one of the latter")
	fl.StringVar(&f.format, "format", sigformat.OpenPGPBinary.Name, strings.Join(sigformat.FormatNames(), ", "))
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the request may wait, for approvals and the operator")
	fl.BoolVar(&f.allowEmpty, "allow-empty", false, "files of 0 bytes too")
}
