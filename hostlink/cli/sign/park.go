package sign

import (
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
)

// Park asks for a job and leaves it to wait for approvals.
func Park(a *cli.App, paths []string, f *Options) (job string, err error) {
	format, total, err := checkAsked(paths, f)
	if err != nil {
		return "", err
	}
	files, s, err := prepare(a, paths, format, total, f, progress.New(a.Errs, f.quiet))
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
	req, err := requestFor(a, files, f)
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
