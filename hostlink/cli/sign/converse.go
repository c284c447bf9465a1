package sign

import (
	"os"
	"os/signal"
	"strings"
	"syscall"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
)

// converse sends the request and follows it to its end. Ctrl-C withdraws it;
// the daemon's last word still decides, because it may be armed already. A
// second Ctrl-C leaves at once.
func converse(s *client.Session, req *api.Request, p *progress.Display, paths []string) (*api.Response, error) {
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-stop:
			}
			if n > 0 {
				s.Leave()
				return
			}
			p.Interrupted()
			s.Cancel()
		}
	}()
	s.Event = func(e *api.Event) { p.Event(e, len(paths)) }
	s.Lost = func(error) { p.Tell("touchmark-hostd went away: waiting for it to come back") }
	r, err := s.Wait(req)
	p.Clear()
	switch {
	case err != nil:
		return nil, lost(err, s, paths)
	case !r.OK:
		s.Taken() // if the daemon, too, takes this for the last word
	}
	if r.Earlier {
		p.Say("this was asked for before, and nobody had taken the result")
	}
	return r, client.Said(r)
}

// lost is what to say when there is no answer: the daemon went away, or Ctrl-C
// was pressed twice.
func lost(err error, s *client.Session, paths []string) error {
	switch {
	case s.Job == "" && s.Left():
		return api.Errorf(api.Interrupted, "interrupted before the appliance had the request")
	case s.Job == "":
		return err
	case s.Left():
		return kept(api.Errorf(api.MaySigned, "interrupted while job %s was with the appliance: it may be signed yet", s.Job), s, paths)
	}
	return kept(api.Errorf(api.MaySigned, "touchmark-hostd %s while job %s was with the appliance: it may be signed yet", cli.Why(err), s.Job), s, paths)
}

// kept adds to an error how to come by the result.
func kept(err error, s *client.Session, paths []string) error {
	if s.Job == "" {
		return err
	}
	return api.Errorf(api.CodeOf(err, api.Usage), "%w; to learn how it ended: touchmark fetch %s %s", err, s.Job, strings.Join(paths, " "))
}
