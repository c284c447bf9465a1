package status

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/log"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/summary"
)

// WatchCommand is "touchmark watch".
func WatchCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Follow link, jobs and log as they change, line by line",
		Long: `Tells what goes on now, and then every change, until Ctrl-C: the link, the
appliance, jobs and how they end, and each entry of the log when the TPM has
taken it. With --json the whole state in one object, and the entries as
"touchmark log --json" shows them. A touchmark-hostd that goes away is waited
for, and no entry is missed.

Exit code 10 if the log contradicts this host's mirror.`,
		Example: "  touchmark watch\n  touchmark watch --json | jq 'select(.kind==\"intent\")'",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return watch(a, &lineView{App: a, jobs: map[string]string{}}) },
	}
}

// view shows what is watched.
type view interface {
	state(*api.Status, []api.Job) error // now
	entry(*api.Entry) error             // was committed
	lost(why string)                    // the daemon went away or is stuck, and is waited for
}

// follower follows daemon after daemon.
type follower struct {
	daemon client.Daemon
	view   view
	out    *cli.Printer // that it writes to
	met    bool         // there was a daemon
	next   uint64       // entry that was not told yet; 0: from now on
}

// watch shows what changes until a signal ends it.
func watch(a *cli.App, v view) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	f := &follower{daemon: a.Daemon(), view: v, out: a.Out}
	for {
		err := f.follow(stop)
		if err == nil || api.CodeOf(err, api.Usage) != api.NoDaemon || !f.met {
			return err
		}
		v.lost(cli.Why(err))
		select {
		case <-stop:
			return nil
		case <-time.After(lookAgain):
		}
	}
}

// lookAgain is how often a daemon that went away is looked for.
const lookAgain = time.Second

// follow follows one daemon. It returns nil when a signal came.
func (f *follower) follow(stop <-chan os.Signal) error {
	d, err := f.daemon.Follow(&api.Request{Op: api.OpWatch, From: f.next})
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // the conversation is over either way
	told := make(chan error, 1)
	go func() { told <- f.tell(d) }()
	select {
	case err = <-told:
		return err
	case <-stop:
		_ = d.Close() // ends the reading
		<-told
		return nil
	}
}

// tell shows what one daemon says.
func (f *follower) tell(d *client.Conn) error {
	for {
		r, err := d.Next()
		switch {
		case err != nil:
			return err
		case r.Final:
			return cmp.Or(client.Said(r), api.Errorf(api.Internal, "touchmark-hostd ended the watch"))
		case r.Entry != nil:
			f.next = r.Entry.Index + 1
			err = f.view.entry(r.Entry)
		case r.Status != nil:
			if f.met = true; f.next == 0 {
				f.next = r.Status.Committed
			}
			err = f.view.state(r.Status, r.Jobs)
		}
		if err = cmp.Or(err, f.out.Failed()); err != nil {
			return err
		}
	}
}

// lineView tells changes, a line each.
type lineView struct {
	*cli.App
	link, board, refuses string
	jobs                 map[string]string // what was told of each
	gone                 bool
}

func (v *lineView) say(format string, args ...any) {
	fmt.Fprintf(v.Out, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (v *lineView) state(s *api.Status, jobs []api.Job) error {
	v.gone = false
	if v.JSON {
		v.Object(struct {
			Status *api.Status `json:"status"`
			Jobs   []api.Job   `json:"jobs"`
		}{s, append([]api.Job{}, jobs...)})
	} else {
		v.changed(&v.link, s.Link, "link: ")
		v.changed(&v.board, strings.TrimSpace(s.Board+" "+s.Halt), "appliance: ")
		v.changed(&v.refuses, s.Refuses, "no request is taken: ")
		for _, j := range jobs {
			v.job(j)
		}
	}
	return contradicts(s)
}

// contradicts is the end of watching: nothing goes on until a person has looked.
func contradicts(s *api.Status) error {
	if s.Evidence == "" {
		return nil
	}
	return api.Errorf(api.Evidence, "nothing is signed: %s; see \"Evidence\" in the host guide", s.Evidence)
}

// changed tells a text that is another than before.
func (v *lineView) changed(last *string, text, what string) {
	if text != *last && text != "" {
		v.say("%s%s", what, text)
	}
	*last = text
}

func (v *lineView) job(j api.Job) {
	text := jobState(j)
	if v.jobs[j.Job] == text {
		return
	}
	v.jobs[j.Job] = text
	if j.State == "ended" || j.State == "signed" {
		delete(v.jobs, j.Job)
	}
	v.say("job %.16s  %s: %s  %s", j.Job, j.Class, strings.Join(j.Names, ", "), text)
}

func (v *lineView) entry(e *api.Entry) error {
	if v.JSON {
		return log.Print(v.App, e)
	}
	h, body, err := ledger.Parse(e.Text)
	if err != nil {
		return api.Errorf(api.Evidence, "entry %d: %w", e.Index, err)
	}
	v.say("log %d  %s  %s", h.Index, ledger.KindOf(body), summary.Of(body))
	return nil
}

func (v *lineView) lost(why string) {
	if !v.gone && !v.JSON {
		v.say("touchmark-hostd %s: waiting for it to come back", why)
	}
	v.gone = true
}

// screenView is the status, painted anew whenever it changes.
type screenView struct {
	*cli.App
	gone bool
}

// home clears a terminal (ECMA-48: cursor to the corner, erase what follows).
const home = "\x1b[H\x1b[J"

func (v *screenView) state(s *api.Status, jobs []api.Job) error {
	v.gone = false
	_, _ = io.WriteString(v.Out, home)
	s.Jobs = nil // told below, with more
	printStatus(v.App, s)
	if s.Refuses != "" {
		fmt.Fprintf(v.Out, "\n%s\n", s.Refuses)
	}
	for _, j := range jobs {
		fmt.Fprintf(v.Out, "\njob %.16s  since %s  %s\n  %s\n  %s\n", j.Job, j.Created, j.Class, strings.Join(j.Names, ", "), jobState(j))
	}
	fmt.Fprintf(v.Out, "\nas of %s; Ctrl-C ends this\n", time.Now().Format(time.TimeOnly))
	return contradicts(s)
}

func (v *screenView) entry(*api.Entry) error { return nil }

func (v *screenView) lost(why string) {
	if !v.gone {
		fmt.Fprintf(v.Out, "\ntouchmark-hostd %s: waiting for it to come back\n", why)
	}
	v.gone = true
}
