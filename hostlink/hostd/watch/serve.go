package watch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/round"
)

// waiting is a client that wants what is staged now to be published.
type waiting struct {
	rule   string
	number uint64 // of the snapshot, a later one will do; 0 before it is taken
	missed uint64 // rounds that had been when it came
	final  chan *api.Response
}

// Serve answers a request about rounds; it is called from any goroutine. A wait
// ends with ctx.
func (r *Runner) Serve(ctx context.Context, req *api.Request) *api.Response {
	final := make(chan *api.Response, 1)
	var w *waiting
	if !r.post(func() { w = r.serve(req, final) }) {
		return api.Fail(api.NoDaemon, "touchmark-hostd is stopping")
	}
	select {
	case resp := <-final:
		return resp
	case <-ctx.Done():
		r.post(func() { r.waits = slices.DeleteFunc(r.waits, func(o *waiting) bool { return o == w }) })
	case <-r.done:
	}
	return api.Fail(api.NoDaemon, "touchmark-hostd is stopping: what waits is kept, and goes on when it is started again")
}

// serve does what is asked for; a wait is answered later.
func (r *Runner) serve(req *api.Request, final chan *api.Response) *waiting {
	now := r.o.Clock()
	rules, err := r.named(req.Rules)
	switch {
	case err != nil:
		final <- api.Fail(api.Usage, "%v", err)
	case req.Action == api.RoundList:
		final <- r.list(now, rules)
	case req.Action == api.RoundOpen || req.Action == api.RoundUrgent:
		final <- r.open(now, rules, req.Action == api.RoundUrgent)
	case req.Action == api.RoundWait && len(req.Rules) == 1:
		return r.await(now, rules[0], final)
	default:
		final <- api.Fail(api.Usage, "round %q of %d rules: nothing that touchmark-hostd does", req.Action, len(req.Rules))
	}
	return nil
}

// named finds rules; no names are all of them.
func (r *Runner) named(names []string) ([]*round.Rule, error) {
	var out []*round.Rule
	for i := range r.rules {
		if len(names) == 0 || slices.Contains(names, r.rules[i].Name) {
			out = append(out, &r.rules[i])
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(out, func(o *round.Rule) bool { return o.Name == name }) {
			return nil, fmt.Errorf("no rule %q: there are %s", name, strings.Join(r.names(), ", "))
		}
	}
	return out, nil
}

func (r *Runner) names() (out []string) {
	for _, o := range r.rules {
		out = append(out, o.Name)
	}
	return out
}

func (r *Runner) open(now time.Time, rules []*round.Rule, urgent bool) *api.Response {
	for _, o := range rules {
		if err := r.state.Open(now, o, urgent); err != nil {
			return api.Fail(api.Usage, "rule %q: %v", o.Name, err)
		}
	}
	if !r.save() {
		return api.Fail(api.CannotWrite, "%s", r.unkept)
	}
	return r.list(now, rules)
}

// await has a client wait for what is staged now.
func (r *Runner) await(now time.Time, o *round.Rule, final chan *api.Response) *waiting {
	w := &waiting{rule: o.Name, missed: r.state.Of(o.Name).Missed, final: final}
	if resp := r.take(now, o, w); resp != nil {
		final <- resp
		return nil
	}
	r.waits = append(r.waits, w)
	return w
}

// take takes a snapshot of what is staged now for a client, unless a repository
// tool is at work: then w.number stays 0, and it is tried again.
func (r *Runner) take(now time.Time, o *round.Rule, w *waiting) *api.Response {
	v, p := r.seen[o.Name], r.state.Of(o.Name)
	v.notBefore, v.nextLook = time.Time{}, time.Time{}
	if look, err := r.files[o.Name].Look(); err != nil || look == "" || look != p.Look {
		v.last = look
		switch taken := r.look(now, o); {
		case !taken && !v.busy.IsZero() && now.Sub(v.busy) < longWork:
			return nil
		case !taken:
			return api.Fail(api.BadInput, "what is staged for %q cannot be taken: %s", o.Name, cmp.Or(v.problem, "there is nothing to sign"))
		}
	}
	for _, snap := range []*round.Snapshot{p.Live, p.Held, p.Newest} { // the newest counts
		if snap != nil {
			w.number = snap.Number
		}
	}
	return nil
}

// takeWaits tries again for the clients that a repository tool was in the way of.
func (r *Runner) takeWaits(now time.Time) {
	r.waits = slices.DeleteFunc(r.waits, func(w *waiting) bool {
		i := slices.IndexFunc(r.rules, func(o round.Rule) bool { return o.Name == w.rule })
		if w.number != 0 {
			return false
		}
		resp := r.take(now, &r.rules[i], w)
		if resp != nil {
			w.final <- resp
		}
		return resp != nil
	})
}

// answerWaits tells clients what they wait for.
func (r *Runner) answerWaits() {
	r.waits = slices.DeleteFunc(r.waits, func(w *waiting) bool {
		resp := r.outcome(w)
		if resp != nil {
			w.final <- resp
		}
		return resp != nil
	})
}

func (r *Runner) outcome(w *waiting) *api.Response {
	p := r.state.Of(w.rule)
	w.missed = min(w.missed, p.Missed) // something older may have been published: they count from 0 again
	switch {
	case w.number == 0:
		return nil
	case p.Live != nil && p.Live.Number >= w.number:
		return &api.Response{Final: true, OK: true}
	case p.Denied != 0 && p.Denied >= w.number:
		return api.Fail(api.Denied, "%s", p.Why)
	case p.Missed > w.missed:
		return api.Fail(api.TimedOut, "%s; it waits for the next round", p.Why)
	}
	return nil
}

func (r *Runner) list(now time.Time, rules []*round.Rule) *api.Response {
	resp := &api.Response{Final: true, OK: true, Rounds: []api.Round{}}
	for _, o := range rules {
		resp.Rounds = append(resp.Rounds, r.describe(now, o))
	}
	return resp
}

func (r *Runner) describe(now time.Time, o *round.Rule) api.Round {
	p, v, cfg := r.state.Of(o.Name), r.seen[o.Name], r.ruleOf(o.Name)
	a := api.Round{Rule: o.Name, Class: o.Class, Dir: cfg.Files.Dir, Into: cfg.Files.Into, Always: o.Always, Alarm: v.alarm, Unsigned: []string{}}
	if p == nil {
		return a
	}
	a.Why, a.Missed, a.Urgent, a.Open, a.Stale = p.Why, p.Missed, p.Urgent, p.IsOpen(now, o), p.Overdue(now, o)
	a.Until, a.Waiting, a.Next = when(p.Until), when(p.Waiting()), when(o.NextRound(p.Opened.In(now.Location())))
	if p.Live != nil {
		a.Published = p.Live.Number
	}
	for _, snap := range []*round.Snapshot{p.Held, p.Newest} { // the newest counts
		if snap == nil {
			continue
		}
		a.Snapshot, a.Unsigned = snap.Number, []string{}
		for _, it := range snap.Items {
			if !it.Signed {
				a.Unsigned = append(a.Unsigned, it.Name)
			}
		}
	}
	return a
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}
