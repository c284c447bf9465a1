package round

import (
	"cmp"
	"slices"
	"time"
)

// Action is what the state asks its driver to do. Each may be asked for again
// and again, until the driver reports how it went.
type Action struct {
	Do     Deed
	Job    *Job   // Ask, Withdraw
	Rule   string // Publish, Hook
	Number uint64 // Publish, Hook
}

// Deed is the kind of an action.
type Deed int

// The kinds of actions.
const (
	Ask      Deed = iota // have the job signed; report with End
	Withdraw             // take it back if it is not armed; End is still reported
	Publish              // put the snapshot where clients find it; report with Published
	Hook                 // run the rule's hook for it; report with Hooked
)

// Step brings the state to now and says what is to be done. now's location is
// the one that times of day are meant in. newKey makes random keys of new jobs.
// The state must be kept before anything is done.
func (s *State) Step(now time.Time, rules []Rule, newKey func() Key) []Action {
	s.follow(now, rules)
	for _, p := range s.Rules {
		s.tidy(p)
	}
	for i := range rules {
		s.turn(now, &rules[i])
	}
	s.withdrawOld(now, rules)
	s.makeJobs(now, rules, newKey)
	return s.todo()
}

// follow knows the rules of the configuration and forgets others, once none of
// their files can be signed any more.
func (s *State) follow(now time.Time, rules []Rule) {
	for _, r := range rules {
		if s.Of(r.Name) == nil {
			s.Rules = append(s.Rules, &Progress{Rule: r.Name, Opened: now})
		}
	}
	s.Rules = slices.DeleteFunc(s.Rules, func(p *Progress) bool {
		return ruleOf(rules, p.Rule) == nil && !slices.ContainsFunc(p.Numbers(), func(n uint64) bool { return s.inJob(p.Rule, n) })
	})
}

func ruleOf(rules []Rule, name string) *Rule {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &rules[i]
}

// tidy drops a snapshot that a newer one has taken the place of.
func (s *State) tidy(p *Progress) {
	if p.Held != nil && p.Newest != nil && !p.Held.complete() && !s.inJob(p.Rule, p.Held.Number) {
		p.Newest.First = earlier(p.Newest.First, p.Held.First)
		p.Held = nil
	}
}

// carry marks as signed what has a signature from another snapshot: a file that
// is as it was keeps it.
func (p *Progress) carry(to *Snapshot) {
	for i := range to.Items {
		it := &to.Items[i]
		it.Signed = it.Signed || p.signed(*it)
	}
}

func (p *Progress) signed(it Item) bool {
	for _, from := range []*Snapshot{p.Live, p.Held, p.Newest} {
		if from != nil && slices.ContainsFunc(from.Items, func(o Item) bool { return o.Signed && o.same(it) }) {
			return true
		}
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// turn opens and closes the rounds of a rule.
func (s *State) turn(now time.Time, r *Rule) {
	p := s.Of(r.Name)
	if !p.Until.IsZero() && !now.Before(p.Until) {
		p.miss()
	}
	if at := r.NextRound(p.Opened.In(now.Location())); !at.IsZero() && !now.Before(at) {
		p.Opened = now
		p.open(now, r.Window)
	}
}

// open begins a round, or makes it longer.
func (p *Progress) open(now time.Time, window time.Duration) {
	p.Until, p.After = now.Add(window), time.Time{}
}

// miss ends a round; if something waits for a signature, without one. What the
// operator said of it stays its reason.
func (p *Progress) miss() {
	p.Until, p.Urgent, p.For = time.Time{}, false, 0
	if (p.Held == nil || p.Held.complete()) && (p.Newest == nil || p.Newest.complete()) {
		return
	}
	p.Missed++
	if !p.denied() {
		p.Why = nobody
	}
}

const nobody = "nobody signed it while the last round was open"

// IsOpen reports whether a round is open: what waits is put before the operator, as
// it can be. For what he denied none is, until somebody opens one.
func (p *Progress) IsOpen(now time.Time, r *Rule) bool {
	return (r.Always || now.Before(p.Until)) && !p.denied()
}

// class is the policy class that a rule's items are asked for in now.
func (p *Progress) class(r *Rule) string {
	if p.Urgent {
		return r.Urgent
	}
	return r.Class
}

// withdrawOld marks the jobs that should not be armed any more.
func (s *State) withdrawOld(now time.Time, rules []Rule) {
	for _, j := range s.Jobs {
		late := !now.Before(j.Deadline)
		if late || !j.Armed && slices.ContainsFunc(j.Refs, func(ref Ref) bool { return s.outdated(j, ref, rules) }) {
			j.Withdrawn = true
		}
	}
}

// outdated reports whether an item of a job has a newer version, no rule any
// more or one of other classes, or has become urgent meanwhile.
func (s *State) outdated(j *Job, ref Ref, rules []Rule) bool {
	p, r, it := s.Of(ref.Rule), ruleOf(rules, ref.Rule), s.item(ref)
	if p == nil || r == nil || it == nil || j.Class != p.class(r) && (p.Urgent || j.Class != r.Urgent) {
		return true
	}
	return p.Newest != nil && !slices.ContainsFunc(p.Newest.Items, func(o Item) bool { return o.same(*it) })
}

// block is what of one rule can be asked for.
type block struct {
	rule  *Rule
	p     *Progress
	refs  []Ref
	place uint64
}

// makeJobs gives each class that has none its next job.
func (s *State) makeJobs(now time.Time, rules []Rule, newKey func() Key) {
	blocks := s.blocks(now, rules)
	for len(blocks) > 0 {
		class := blocks[0].p.class(blocks[0].rule)
		mine := func(b block) bool { return b.p.class(b.rule) == class }
		if !slices.ContainsFunc(s.Jobs, func(j *Job) bool { return j.Class == class }) {
			j := &Job{Key: newKey(), Class: class}
			j.fill(now, slices.DeleteFunc(slices.Clone(blocks), func(b block) bool { return !mine(b) }))
			s.Jobs = append(s.Jobs, j)
		}
		blocks = slices.DeleteFunc(blocks, mine)
	}
}

// blocks lists what can be asked for, what waits longest first.
func (s *State) blocks(now time.Time, rules []Rule) []block {
	var out []block
	for i := range rules {
		b := block{rule: &rules[i], p: s.Of(rules[i].Name)}
		cur := b.p.current()
		if cur == nil || !b.p.IsOpen(now, b.rule) || now.Before(b.p.After) || s.inJob(b.rule.Name, cur.Number) {
			continue
		}
		for i, it := range cur.Items {
			if it.Signed {
				continue
			}
			if len(b.refs) == 0 || it.Place < b.place {
				b.place = it.Place
			}
			b.refs = append(b.refs, Ref{Rule: b.rule.Name, Number: cur.Number, Item: i})
		}
		if len(b.refs) > 0 {
			slices.SortStableFunc(b.refs, func(x, y Ref) int { return cmp.Compare(cur.Items[x.Item].Place, cur.Items[y.Item].Place) })
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b block) int { return cmp.Compare(a.place, b.place) })
	return out
}

// fill takes whole rules, in order, for as long as they fit; a rule that no job
// holds is asked for in parts.
func (j *Job) fill(now time.Time, blocks []block) {
	room := MaxBatch
	for _, b := range blocks {
		room = min(room, b.rule.Batch)
		if len(j.Refs)+len(b.refs) > room {
			if len(j.Refs) > 0 {
				return
			}
			b.refs = b.refs[:room]
		}
		until := now.Add(b.rule.Window)
		if now.Before(b.p.Until) {
			until = b.p.Until
		}
		if j.Deadline.IsZero() || until.Before(j.Deadline) {
			j.Deadline = until
		}
		j.Refs = append(j.Refs, b.refs...)
	}
}

// todo lists what is to be done in the present state.
func (s *State) todo() []Action {
	var out []Action
	for _, p := range s.Rules {
		if p.Hook != 0 {
			out = append(out, Action{Do: Hook, Rule: p.Rule, Number: p.Hook})
		}
		if cur := p.current(); cur != nil && cur.complete() {
			out = append(out, Action{Do: Publish, Rule: p.Rule, Number: cur.Number})
		}
	}
	for _, j := range s.Jobs {
		out = append(out, Action{Do: Ask, Job: j})
		if j.Withdrawn {
			out = append(out, Action{Do: Withdraw, Job: j})
		}
	}
	return out
}
