package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/policy"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/find"
	"touchmark/tpm/ledger/order"
)

func (a *app) statusCmd() *cobra.Command {
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
			case live && a.json:
				return exitf(api.Usage, "--live is for people: touchmark watch --json tells programs")
			case live:
				return a.watch(&screenView{app: a})
			}
			return a.status()
		},
	}
	c.Flags().BoolVar(&live, "live", false, "go on, and paint it anew at each change")
	return c
}

func (a *app) status() error {
	r, err := a.ask(&api.Request{Op: api.OpStatus})
	if err != nil {
		return err
	}
	if r.Status == nil {
		return exitf(api.Internal, "touchmark-hostd gave no status")
	}
	s := r.Status
	if a.json {
		a.object(s)
	} else {
		a.printStatus(s)
	}
	switch {
	case s.Evidence != "":
		return exitf(api.Evidence, "nothing is signed: %s; see \"Evidence\" in the host guide", s.Evidence)
	case s.Refuses != "":
		return exitf(s.Code, "%s", s.Refuses)
	case !s.Verified:
		return exitf(api.LinkDown, "no verified conversation with the appliance (%s)", s.Link)
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

func (a *app) printStatus(s *api.Status) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "%-11s%s\n", name, fmt.Sprintf(format, args...))
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

func (a *app) logCmd() *cobra.Command {
	var req api.Request
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the mirrored log",
		Long: `Shows entries of this host's mirror, oldest first. A * marks entries not covered
by a checkpoint yet. This is for reading; touchmark-audit is for checking.

With --artifact, --digest, --class or --job the intents that fit are shown, with
their files, and how each ended; all that is given must fit, name and digest one
and the same file. The digest is what sha256sum prints of the file, but for texts
and documents, which are signed over another form (docs/spec/signature.md §4).`,
		Example: "  touchmark log --last 5\n  touchmark log --artifact 'core.db*' --since 2026-05-01 --until 2026-06-01\n" +
			"  touchmark log --digest 9f86d081884c\n  touchmark log --json | jq 'select(.kind==\"intent\")'",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, n := range []string{"last", "count"} {
				if c.Flags().Changed(n) && c.Flag(n).Value.String() == "0" {
					return exitf(api.Usage, "--%s 0 shows nothing: leave it out to see all", n)
				}
			}
			if q := req.Find; q.Name+q.Digest+q.Class+q.Job+q.From+q.To == "" && len(q.Kinds) == 0 {
				req.Find = nil
			}
			return a.log(&req)
		},
	}
	req.Op, req.Find = api.OpLog, &find.Query{Outcomes: true}
	c.Flags().StringVar(&req.Find.Name, "artifact", "", "only files of this name, with * and ?")
	c.Flags().StringVar(&req.Find.Digest, "digest", "", "only files of this digest: its first 8 or more digits")
	c.Flags().StringVar(&req.Find.Class, "class", "", "only jobs of this policy class")
	c.Flags().StringVar(&req.Find.Job, "job", "", "only this job: its first 8 or more digits")
	c.Flags().StringArrayVar(&req.Find.Kinds, "kind", nil, "only entries of this kind, once for each")
	c.Flags().StringVar(&req.Find.From, "since", "", "only entries of this time (2026-05-01 or 2026-05-01T12:00:00Z) or later")
	c.Flags().StringVar(&req.Find.To, "until", "", "only entries before this time")
	c.Flags().Uint64Var(&req.From, "from", 0, "first entry")
	c.Flags().Uint64Var(&req.Count, "count", 0, "how many (default: all)")
	c.Flags().Uint64Var(&req.Last, "last", 0, "only the last so many (default: all)")
	return c
}

func (a *app) log(req *api.Request) error {
	d, err := a.daemon().Follow(req)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // the conversation is over either way
	for found := false; ; {
		r, err := d.Next()
		if err != nil {
			return err
		}
		if r.Entry != nil {
			found = true
			if err := a.entry(r.Entry); err != nil {
				return err
			}
			if req.Find != nil && !a.json {
				a.files(r.Entry.Text)
			}
		}
		if r.Final {
			if r.OK && !found {
				fmt.Fprintln(a.errs, "touchmark: no entry is like that")
			}
			return client.Said(r)
		}
	}
}

// logLine is an entry as --json shows it.
type logLine struct {
	Index     uint64 `json:"index"`
	Time      string `json:"time"`
	Kind      string `json:"kind"`
	Committed bool   `json:"committed"`
	Leaf      string `json:"leaf"`
	Text      string `json:"text"`
}

func (a *app) entry(e *api.Entry) error {
	h, body, err := ledger.Parse(e.Text)
	if err != nil {
		return exitf(api.Evidence, "entry %d: %w", e.Index, err)
	}
	if a.json {
		leaf := ledger.LeafHash(e.Text)
		a.object(logLine{h.Index, h.Time.Format(time.RFC3339), ledger.KindOf(body), e.Committed, hex.EncodeToString(leaf[:]), string(e.Text)})
		return nil
	}
	mark := " "
	if !e.Committed {
		mark = "*"
	}
	fmt.Fprintf(a.out, "%6d%s %s  %-8s %s\n", h.Index, mark, h.Time.Format(time.RFC3339), ledger.KindOf(body), summary(body))
	return nil
}

// summary is an entry in a few words.
func summary(body any) string {
	switch b := body.(type) {
	case *ledger.Genesis:
		return b.Origin
	case *ledger.Boot:
		return fmt.Sprintf("number %d, firmware %s, clock %s, recovery %s", b.Number, b.Firmware, b.Clock, b.Recovery)
	case *ledger.Intent:
		return "job " + b.Job.String()[:16] + " " + intentNames(b)
	case *ledger.Outcome:
		states := make([]string, len(b.Items))
		for i, it := range b.Items {
			states[i] = strings.TrimSpace(string(it.State) + " " + it.Reason)
		}
		return fmt.Sprintf("of %d: %s", b.Intent, strings.Join(states, ", "))
	case *ledger.Attest:
		return fmt.Sprintf("of size %d", b.Size)
	case *ledger.Update:
		return fmt.Sprintf("from %s to %s", b.From, b.To)
	case *ledger.Order:
		return ordered(b)
	}
	return ""
}

// ordered is why administrators ordered something, in their words, and of a policy
// which one it is.
func ordered(b *ledger.Order) string {
	text, err := message.NoteText(b.Note)
	if err != nil {
		return "with an unreadable note"
	}
	if o, err := order.Parse(text); err == nil {
		return o.Reason
	}
	p, err := policy.Parse(text)
	if err != nil {
		return "with an unreadable note"
	}
	return fmt.Sprintf("serial %d", p.Serial)
}

// files shows the files of an intent, a line each.
func (a *app) files(entry []byte) {
	_, body, err := ledger.Parse(entry)
	in, ok := body.(*ledger.Intent)
	if err != nil || !ok {
		return
	}
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return
	}
	ap, err := message.ParseApproval(text)
	if err != nil {
		return
	}
	for _, it := range ap.Items {
		fmt.Fprintf(a.out, "        %s  %d bytes  %s  %s\n", it.Digest, it.Size, it.Format, it.Name)
	}
}

func intentNames(b *ledger.Intent) string {
	text, err := message.NoteText(b.Approval)
	if err != nil {
		return "with an unreadable approval"
	}
	ap, err := message.ParseApproval(text)
	if err != nil {
		return "with an unreadable approval"
	}
	names := make([]string, len(ap.Items))
	for i, it := range ap.Items {
		names[i] = it.Name
	}
	return ap.Class + ": " + strings.Join(names, ", ")
}

func (a *app) publishCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "publish",
		Short:   "Bring the published log up to date and wait for it",
		Example: "  touchmark publish",
		Long:    "touchmark-hostd publishes by itself, shortly after each signature. This waits until it has.",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.ask(&api.Request{Op: api.OpPublish})
			return err
		},
	}
}
