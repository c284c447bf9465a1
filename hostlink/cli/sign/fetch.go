package sign

import (
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
)

// FetchCommand is "touchmark fetch".
func FetchCommand(a *cli.App) *cobra.Command {
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
				return api.Errorf(api.Usage, "name a job and at least one of its files: %s JOB FILE", c.CommandPath())
			}
			return fetch(a, args[0], args[1:], progress.New(a.Errs, quiet), reconnect, armor)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing while waiting")
	c.Flags().BoolVar(&armor, "armor", false, "write the signature as text, to FILE.asc")
	c.Flags().DurationVar(&reconnect, "reconnect", time.Minute, "how long to wait for a touchmark-hostd that went away meanwhile")
	return c
}

func fetch(a *cli.App, job string, paths []string, p *progress.Display, reconnect time.Duration, armor bool) error {
	trust, err := a.LoadTrust()
	if err != nil {
		return err
	}
	if _, err := hashing.Check(paths, sigformat.OpenPGPBinary, true); err != nil {
		return err
	}
	if err := checkOutputs(paths, sigformat.OpenPGPBinary); err != nil {
		return err
	}
	s, err := a.DaemonFor(p.Tell).Open()
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
	if err := accept(a, trust, files, part, form{armor: armor}); err != nil {
		return err
	}
	if len(paths) == len(r.Signatures) {
		s.Taken()
	}
	return nil
}

// match hashes the files, each with the hash of its item, and picks out of the
// job's answer what belongs to them.
func match(trust *verify.Trust, paths []string, r *api.Response) ([]*hashing.File, *api.Response, error) {
	if len(r.Proofs) == 0 || len(r.Proofs) != len(r.Signatures) {
		return nil, nil, api.Errorf(api.Evidence, "touchmark-hostd returned %d signatures and %d proofs", len(r.Signatures), len(r.Proofs))
	}
	in, err := trust.OpenProof(r.Proofs[0])
	if err != nil {
		return nil, nil, api.Errorf(api.Evidence, "%w; nothing was written", err)
	}
	part := &api.Response{Job: r.Job}
	var files []*hashing.File
	for _, path := range paths {
		it := in.Item(filepath.Base(path))
		format, known := sigformat.FormatOf(it.Format)
		if !known {
			return nil, nil, api.Errorf(api.Evidence, "job %s is of format %q, which this program does not know", r.Job, it.Format)
		}
		h, err := hashing.Hash(path, format, it.Digest.Alg, new(atomic.Int64))
		if err != nil {
			return nil, nil, err
		}
		i, err := in.Find(filepath.Base(path), format, h.State)
		if err != nil || i >= len(r.Signatures) {
			return nil, nil, api.Errorf(api.BadInput, "%s is not what job %s signed: %v", path, r.Job, err)
		}
		files, part.Signatures, part.Proofs = append(files, h), append(part.Signatures, r.Signatures[i]), append(part.Proofs, r.Proofs[i])
	}
	return files, part, nil
}
