package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
)

func (a *app) fetchCmd() *cobra.Command {
	var quiet, armor bool
	var reconnect time.Duration
	c := &cobra.Command{
		Use:   "fetch [flags] JOB FILE...",
		Short: "Get the result of a job whose client went away; writes FILE.sig and FILE.tmproof",
		Long: "Waits for a job that was asked for before, verifies its signatures over the files as sign does, and writes\n" +
			"FILE.sig and FILE.tmproof. touchmark jobs lists what there is to fetch; a job whose files were all fetched\n" +
			"is forgotten. Ctrl-C withdraws the job if nobody else waits for it and it is not armed yet.",
		Example: "  touchmark fetch 7d7c… core.db.tar.gz core.files.tar.gz",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exitf(api.Usage, "name a job and at least one of its files: %s JOB FILE", c.CommandPath())
			}
			return a.fetch(args[0], args[1:], newProgress(a.errs, quiet), reconnect, armor)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing while waiting")
	c.Flags().BoolVar(&armor, "armor", false, "write the signature as text, to FILE.asc")
	c.Flags().DurationVar(&reconnect, "reconnect", time.Minute, "how long to wait for a touchmark-hostd that went away meanwhile")
	return c
}

func (a *app) fetch(job string, paths []string, p *progress, reconnect time.Duration, armor bool) error {
	trust, err := a.loadTrust()
	if err != nil {
		return err
	}
	if _, err := checkInputs(paths, sigformat.OpenPGPBinary, true); err != nil {
		return err
	}
	if err := checkOutputs(paths, sigformat.OpenPGPBinary); err != nil {
		return err
	}
	s, err := a.daemonFor(p.tell).Open()
	if err != nil {
		return err
	}
	defer s.Close()
	s.Return = reconnect
	r, err := converse(s, &api.Request{Op: api.OpFetch, Job: job}, p, paths)
	if err != nil {
		return err
	}
	files, part, err := match(trust, paths, r)
	if err != nil {
		return err
	}
	if err := a.accept(trust, files, part, armor); err != nil {
		return err
	}
	if len(paths) == len(r.Signatures) {
		s.Taken()
	}
	return nil
}

// match hashes the files, each with the hash of its item, and picks out of the
// job's answer what belongs to them.
func match(trust *verify.Trust, paths []string, r *api.Response) ([]*hashed, *api.Response, error) {
	if len(r.Proofs) == 0 || len(r.Proofs) != len(r.Signatures) {
		return nil, nil, exitf(api.Evidence, "touchmark-hostd returned %d signatures and %d proofs", len(r.Signatures), len(r.Proofs))
	}
	in, err := trust.OpenProof(r.Proofs[0])
	if err != nil {
		return nil, nil, exitf(api.Evidence, "%w; nothing was written", err)
	}
	part := &api.Response{Job: r.Job}
	var files []*hashed
	for _, path := range paths {
		it := itemOf(in, base(path))
		format, known := sigformat.FormatOf(it.Format)
		if !known {
			return nil, nil, exitf(api.Evidence, "job %s is of format %q, which this program does not know", r.Job, it.Format)
		}
		h, err := hashFile(path, format, it.Digest.Alg, new(atomic.Int64))
		if err != nil {
			return nil, nil, err
		}
		i, err := in.Find(base(path), format, h.state)
		if err != nil || i >= len(r.Signatures) {
			return nil, nil, exitf(api.BadInput, "%s is not what job %s signed: %v", path, r.Job, err)
		}
		files, part.Signatures, part.Proofs = append(files, h), append(part.Signatures, r.Signatures[i]), append(part.Proofs, r.Proofs[i])
	}
	return files, part, nil
}

// itemOf is the job's item of a name, or its first.
func itemOf(in *verify.Intent, name string) message.Item {
	items := in.Approval.Items
	return items[max(0, slices.IndexFunc(items, func(it message.Item) bool { return it.Name == name }))]
}

func (a *app) jobsCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "jobs",
		Example: "  touchmark jobs --json",
		Short:   "List jobs that go on, and those whose result nobody has taken",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.jobs() },
	}
}

func (a *app) jobs() error {
	r, err := a.ask(&api.Request{Op: api.OpJobs})
	if err != nil {
		return err
	}
	if a.json {
		a.object(map[string]any{"ok": true, "jobs": append([]api.Job{}, r.Jobs...)})
		return nil
	}
	for _, j := range r.Jobs {
		text := jobState(j)
		if j.State == "signed" {
			text = fmt.Sprintf("signed: touchmark fetch %s %s", j.Job, strings.Join(j.Names, " "))
		}
		fmt.Fprintf(a.out, "%s  %s  %s: %s  %s\n", j.Job, j.Created, j.Class, strings.Join(j.Names, ", "), text)
	}
	if len(r.Jobs) == 0 {
		fmt.Fprintln(a.errs, "touchmark: no jobs")
	}
	return nil
}
