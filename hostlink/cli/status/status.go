// Package status is what "touchmark status", "watch", "jobs" and "queue" tell of the
// daemon, the appliance and what waits there: once, or whenever it changes.
package status

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
)

// Command is "touchmark status".
func Command(a *cli.App) *cobra.Command {
	var live bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show link, appliance, log and waiting jobs",
		Long: "Exit code 0 means that a job could be signed now; 5 that there is no verified conversation with the\nappliance; 6 that its clock and this host's are too far apart for any request; 9 that the appliance has halted; 10 that its log contradicts this host's mirror.\n\n" +
			"With --live the terminal shows it and the jobs, painted anew at each change, until Ctrl-C. touchmark watch\ntells the changes line by line, for pipes and programs.",
		Example: "  touchmark status --json\n  touchmark status --live",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case live && a.JSON:
				return api.Errorf(api.Usage, "--live is for people: touchmark watch --json tells programs")
			case live:
				return watch(a, &screenView{App: a})
			}
			return status(a)
		},
	}
	c.Flags().BoolVar(&live, "live", false, "go on, and paint it anew at each change")
	return c
}

func status(a *cli.App) error {
	r, err := a.Ask(&api.Request{Op: api.OpStatus})
	if err != nil {
		return err
	}
	if r.Status == nil {
		return api.Errorf(api.Internal, "touchmark-hostd gave no status")
	}
	s := r.Status
	if a.JSON {
		a.Object(s)
	} else {
		printStatus(a, s)
	}
	switch {
	case s.Evidence != "":
		return api.Errorf(api.Evidence, "nothing is signed: %s; see \"Evidence\" in the host guide", s.Evidence)
	case s.Refuses != "":
		return api.Errorf(s.Code, "%s", s.Refuses)
	case !s.Verified:
		return api.Errorf(api.LinkDown, "no verified conversation with the appliance (%s)", s.Link)
	}
	return nil
}

// wear says how worn the appliance's TPM is.
func wear(s *api.Status) string {
	if s.Days < 0 {
		return fmt.Sprintf("%d writes", s.Writes)
	}
	return fmt.Sprintf("%d writes, worn out in %d days at the earliest", s.Writes, s.Days)
}

// proven is what the appliance proved of itself, and when; a halted one may not be able to.
func proven(s *api.Status) string {
	if s.BoardTime == "" {
		return ", by its own word alone"
	}
	return fmt.Sprintf(", firmware %s, clock %s, as of %d s ago", s.Firmware, s.BoardTime, s.Age)
}

func printStatus(a *cli.App, s *api.Status) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.Out, "%-11s%s\n", name, fmt.Sprintf(format, args...))
	}
	row("log", "%s", s.Origin)
	row("host", "%s", s.Host)
	row("link", "%s (%s)", s.Link, s.Device)
	if s.Board != "" {
		row("appliance", "%s%s", strings.TrimSpace(s.Board+" "+s.Halt), proven(s))
		row("TPM", "%s", wear(s))
	}
	row("entries", "%d committed, %d mirrored, published up to %d", s.Committed, s.Mirrored, s.Published)
	token := ""
	if s.Emulated {
		token = " (EMULATED token)"
	}
	for i, c := range s.Certs {
		row("key", "%s%s", strings.ToUpper(c), token)
		if i < len(s.Standing) && s.Standing[i] != "" {
			row("", "%s", s.Standing[i])
		}
	}
	for _, j := range s.Jobs {
		row("job", "%s", j)
	}
}
