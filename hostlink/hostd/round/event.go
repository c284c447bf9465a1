package round

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Result is how a job ended.
type Result int

// How jobs end. Withdrawn, Late, Denied, Faulty and Refused mean that nothing
// was signed that could be used.
const (
	Signed    Result = iota // the signatures are kept
	Withdrawn               // before anybody armed it
	Late                    // nobody armed it, or nobody touched the token, in time
	Denied                  // the operator does not want this
	Faulty                  // no link, token or appliance failure
	Refused                 // by the policy
	Lost                    // a signature may exist that can never be had
)

// NewNumber gives the number under which the next snapshot is offered.
func (s *State) NewNumber() uint64 {
	s.Count++
	return s.Count
}

// Offer takes a new snapshot of a rule in place of the one that waits. Its
// number is of NewNumber. rules are needed for one thing: a file of the same
// name in another rule of the same class is refused, because nobody at a display
// could tell them apart.
func (s *State) Offer(rules []Rule, rule string, snap *Snapshot) error {
	p, r := s.Of(rule), ruleOf(rules, rule)
	switch {
	case p == nil || r == nil:
		return fmt.Errorf("no rule %q", rule)
	case len(snap.Items) == 0 || len(snap.Items) > MaxItems:
		return fmt.Errorf("rule %q has %d files to sign: it may have 1 to %d", rule, len(snap.Items), MaxItems)
	}
	for _, it := range snap.Items {
		if other := s.elsewhere(rules, r, it); other != "" {
			return fmt.Errorf("%s is in rule %q too, in the same class: rename the file, or give one of the rules another class", it.Name, other)
		}
	}
	snap.First = snap.Taken
	p.carry(snap)
	s.place(p, snap)
	if p.Newest != nil {
		if p.Held == nil && s.inJob(rule, p.Newest.Number) {
			p.Held = p.Newest
		} else {
			snap.First = earlier(snap.First, p.Newest.First)
		}
	}
	p.Newest, p.Why = snap, ""
	return nil
}

// elsewhere finds another rule that has the item's name and format in a class
// that r has too.
func (s *State) elsewhere(rules []Rule, r *Rule, it Item) string {
	for i := range rules {
		o := &rules[i]
		if o.Name == r.Name || o.Class != r.Class && o.Class != r.Urgent && (o.Urgent == "" || o.Urgent != r.Class && o.Urgent != r.Urgent) {
			continue
		}
		p := s.Of(o.Name)
		for _, snap := range []*Snapshot{p.Newest, p.Held, p.Live} {
			if snap != nil && slices.ContainsFunc(snap.Items, it.of) {
				return o.Name
			}
		}
	}
	return ""
}

// place queues the items of a snapshot: a newer version of what waits has its
// place, anything else comes last.
func (s *State) place(p *Progress, snap *Snapshot) {
	for i := range snap.Items {
		it := &snap.Items[i]
		it.Place = 0
		if p.Newest != nil {
			if k := slices.IndexFunc(p.Newest.Items, func(o Item) bool { return o.of(*it) && !o.Signed }); k >= 0 {
				it.Place = p.Newest.Items[k].Place
			}
		}
		if it.Place == 0 {
			it.Place = s.NewNumber()
		}
	}
}

// Hear takes the appliance's word that a job is armed. It is a hint: it only
// saves a withdrawal that would come too late.
func (s *State) Hear(key Key) {
	if j := s.Job(key); j != nil {
		j.Armed = true
	}
}

// Partly takes which of an open job's items were signed though it failed, before
// End says how: they keep their signatures.
func (s *State) Partly(key Key, signed []bool) {
	j := s.Job(key)
	if j == nil {
		return
	}
	for i, ref := range j.Refs {
		if p := s.Of(ref.Rule); p != nil && i < len(signed) && signed[i] {
			s.sign(p, ref)
		}
	}
}

// End takes how a job ended; why is for people. A job that is not open is
// passed over.
func (s *State) End(now time.Time, key Key, result Result, why string) {
	j := s.Job(key)
	if j == nil {
		return
	}
	s.Jobs = slices.DeleteFunc(s.Jobs, func(o *Job) bool { return o == j })
	seen := map[string]bool{}
	for _, ref := range j.Refs {
		p := s.Of(ref.Rule)
		if p == nil {
			continue
		}
		if result == Signed {
			s.sign(p, ref)
		}
		if !seen[ref.Rule] {
			seen[ref.Rule] = true
			p.end(now, ref.Number, result, why)
		}
	}
}

// sign marks an item as signed. A newer version of it has yet to queue: it has
// kept the place of this one.
func (s *State) sign(p *Progress, ref Ref) {
	it := s.item(ref)
	if it == nil {
		return
	}
	it.Signed = true
	if p.Newest == nil || p.Newest.Number == ref.Number {
		return
	}
	for i := range p.Newest.Items {
		switch o := &p.Newest.Items[i]; {
		case o.same(*it):
			o.Signed = true
		case o.of(*it):
			o.Place = s.NewNumber()
		}
	}
}

// end is what the end of a job means for a rule that had a part in it.
func (p *Progress) end(now time.Time, number uint64, result Result, why string) {
	if result != Signed && result != Withdrawn {
		p.Why = why
	}
	switch result {
	case Denied:
		p.Denied = number
	case Late, Faulty:
		p.After = now.Add(afterFault)
	case Refused, Lost:
		p.After = now.Add(afterRefuse)
	}
}

// Published takes the driver's word that a snapshot is where clients find it. Its
// round is over, unless a newer one waits: for that it goes on to its end and not
// longer, as an urgent one only if that is what it was opened for.
func (s *State) Published(rule string, number uint64) {
	p := s.Of(rule)
	if p == nil {
		return
	}
	cur := p.current()
	if cur == nil || cur.Number != number {
		return
	}
	p.Live, p.Hook = cur, number
	if cur == p.Held {
		p.Held = nil
	} else {
		p.Newest = nil
	}
	p.Why = ""
	switch {
	case p.Newest == nil:
		p.Until, p.Missed = time.Time{}, 0
	case p.Missed > 0:
		p.Why = nobody
	}
	if p.Newest == nil || number >= p.For {
		p.Urgent, p.For = false, 0
	}
}

// Hooked takes the driver's word that the hook for a snapshot has succeeded.
func (s *State) Hooked(rule string, number uint64) {
	if p := s.Of(rule); p != nil && p.Hook == number {
		p.Hook = 0
	}
}

// ErrNoUrgent says that a rule has no class for urgent rounds.
var ErrNoUrgent = errors.New("the rule names no class for urgent rounds: add urgent = \"CLASS\", with a class of the policy that has a rate of its own")

// Open opens a round of a rule now, whatever its schedule says, for what was
// denied too. An urgent one asks in the rule's urgent class, until what waits now,
// or something newer, is published.
func (s *State) Open(now time.Time, r *Rule, urgent bool) error {
	if urgent && r.Urgent == "" {
		return ErrNoUrgent
	}
	p := s.Of(r.Name)
	if p == nil {
		p = &Progress{Rule: r.Name, Opened: now}
		s.Rules = append(s.Rules, p)
	}
	p.open(now, r.Window)
	p.Denied, p.Urgent, p.For = 0, urgent, 0
	if urgent && p.Newest != nil {
		p.For = p.Newest.Number
	}
	return nil
}

// Waiting is since when something has waited to be published, superseded
// versions of it included; the zero time if nothing does.
func (p *Progress) Waiting() time.Time {
	switch {
	case p.Held != nil && p.Newest != nil:
		return earlier(p.Held.First, p.Newest.First)
	case p.Newest != nil:
		return p.Newest.First
	case p.Held != nil:
		return p.Held.First
	}
	return time.Time{}
}

// Overdue reports whether that is longer than the rule allows.
func (p *Progress) Overdue(now time.Time, r *Rule) bool {
	since := p.Waiting()
	return r.Stale > 0 && !since.IsZero() && now.Sub(since) > r.Stale
}

// Latest reports whether a rule's newest snapshot has exactly these items and is
// published in this form. Otherwise another one is needed, but a new signature
// only for what is another item.
func (s *State) Latest(rule, form string, items []Item) bool {
	p := s.Of(rule)
	if p == nil {
		return false
	}
	for _, snap := range []*Snapshot{p.Newest, p.Held, p.Live} {
		if snap != nil {
			return snap.Form == form && slices.EqualFunc(snap.Items, items, Item.same)
		}
	}
	return false
}

// Discard takes the driver's word that the files of a snapshot that was to be
// published are lost.
func (s *State) Discard(rule string, number uint64) {
	if p := s.Of(rule); p != nil && p.Held != nil && p.Held.Number == number && !s.inJob(rule, number) {
		p.Held = nil
	}
}

// Find gives a rule's snapshot, nil for one that is not kept any more.
func (p *Progress) Find(number uint64) *Snapshot {
	for _, snap := range []*Snapshot{p.Held, p.Newest, p.Live} {
		if snap != nil && snap.Number == number {
			return snap
		}
	}
	return nil
}
