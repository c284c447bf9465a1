package fold

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
)

// jobs is what intents and outcomes leave behind.
type jobs struct {
	sequence uint64
	history  *policy.History // what counts in rates
	taken    *policy.History // all items of intents that HEAD took
	byID     map[message.JobID]jobRecord
	swept    int            // jobs left by the last sweep
	unswept  int            // jobs since
	waiting  []*task.Intent // no outcome yet, and some that have one
	recent   []*task.Intent // not looked at by countOpen yet
	unsure   []*task.Intent // not known yet whether HEAD took it
	newest   *task.Intent   // the last that HEAD took
}

// jobRecord is a job that may not come again while its approval is good.
type jobRecord struct {
	intent   uint64
	notAfter int64 // seconds since 1970
}

// over reports whether the approval is no longer good: policy refuses the job
// then, whoever remembers it.
func (j jobRecord) over(now time.Time) bool { return now.Unix() > j.notAfter }

// committed notes that HEAD took a size: the intent that is its last leaf was
// committed, those below are not, and never will be.
func (f *Fold) committed(size uint64) {
	for len(f.unsure) > 0 && f.unsure[0].Index < size {
		f.settle(f.unsure[0].Index+1 == size)
	}
}

// settle says of the first of the unsure intents whether HEAD took it.
func (f *Fold) settle(taken bool) {
	in := f.unsure[0]
	f.unsure = f.unsure[1:]
	in.Settled, in.Taken = true, taken
	if taken {
		f.newest = in
	}
	if taken && in.Cert == nil {
		f.taken.Add(in.Class, in.Header.Time, len(in.Digests))
	}
	if taken && in.Burst {
		f.note(finding.Warning, finding.Burst, in.Index, "if every item of each intent that HEAD took was signed, whatever its outcome says, a rate of class %s is exceeded at intent %d", in.Class, in.Index)
	}
	f.judge(in)
}

// giveUp ends the wait for what is so far back that no entry may speak of it
// any more: for commits and for outcomes.
func (f *Fold) giveUp(index uint64) {
	for len(f.unsure) > 0 && f.unsure[0].Index+history.Window <= index {
		f.settle(false)
	}
	for len(f.waiting) > 0 && (f.waiting[0].States != nil || f.waiting[0].Index+history.Window <= index) {
		f.lacksOutcome(f.waiting[0])
		f.waiting = f.waiting[1:]
	}
}

func (f *Fold) lacksOutcome(in *task.Intent) {
	switch {
	case in.States != nil:
	case in.Last:
		f.note(finding.Info, finding.InFlight, in.Index, "%s has no outcome yet", in.What())
	default:
		f.note(finding.Warning, finding.NoOutcome, in.Index, "%s has no outcome, though the appliance went on: it counts as signed", in.What())
	}
}

// judge compares what an outcome says with whether HEAD took the intent, both
// being known.
func (f *Fold) judge(in *task.Intent) {
	if !in.Settled || in.States == nil {
		return
	}
	if !in.Taken && slices.ContainsFunc(in.States, ledger.State.Asked) {
		f.note(finding.Evidence, finding.Uncommitted, in.Index, "the token was asked for %s, but no commit ends with it", in.What())
	}
	f.maybeSigned(in)
}

func (f *Fold) maybeSigned(in *task.Intent) {
	for _, s := range in.States {
		if s.MayHaveSigned(in.Taken) {
			f.note(finding.Info, finding.MaybeSigned, in.Index, "%s: a signature may exist that is not in the log; if somebody touched the token for it, raise the alarm", s)
		}
	}
}

func (f *Fold) intent(t *task.Task, b *ledger.Intent) {
	if f.news() {
		f.countIntent(b)
	}
	f.sequence++
	if b.Sequence != f.sequence {
		f.note(finding.Evidence, finding.Sequence, t.Index, "intent %d has sequence %d, want %d", t.Index, b.Sequence, f.sequence)
		f.sequence = b.Sequence
	}
	f.countOpen()
	f.recent = append(f.recent, t.Intent)
	f.follow(t)
	switch {
	case t.Forked != "":
		f.note(finding.Evidence, finding.HeadFork, t.Index, "intent %d: %s", t.Index, t.Forked)
	case t.Unchecked:
		f.note(finding.Warning, finding.HeadUnchecked, t.Index, "intent %d: the host had verified a size far back, and no published hash tiles tell its root", t.Index)
	}
	if t.Keys.Pinned != nil && (t.Intent.Key == nil || t.Intent.Key.Public == nil) {
		f.note(finding.Evidence, finding.Key, t.Index, "intent %d is for key %X, which is none of this log's", t.Index, b.Key)
	}
	if t.Keys.Policy == nil || t.Request == nil {
		return
	}
	if b.Policy != t.Keys.Policy.Hash {
		f.note(finding.Evidence, finding.PolicyHash, t.Index, "intent %d names another policy than the one in force", t.Index)
	}
	f.admit(t)
}

// follow begins with an intent or a cert entry: the token is about to be asked.
func (f *Fold) follow(t *task.Task) {
	f.giveUp(t.Index)
	f.unsure, f.waiting = append(f.unsure, t.Intent), append(f.waiting, t.Intent)
	switch {
	case !f.booted:
		f.note(finding.Evidence, finding.NoBoot, t.Index, "%s stands before the first boot entry", t.Intent.What())
	case f.noQuote:
		f.note(finding.Evidence, finding.NoBoot, t.Index, "%s follows a commit without a quote, and no boot entry stands in between", t.Intent.What())
	}
}

// countIntent adds up intents and what was refused, by code. A log of lies
// could make up any number of codes: those beyond a bound count as no code's.
func (f *Fold) countIntent(b *ledger.Intent) {
	f.report.Intents++
	f.report.Refusals += b.Refusals
	for _, c := range b.Refused {
		if _, known := f.report.Refused[c.Code]; known || len(f.report.Refused) < ledger.MaxCodes {
			f.report.Refused[c.Code] += c.Count
		}
	}
}

// countOpen counts intents that still have no outcome when the next one comes
// as unknown (docs/spec/policy.md, section 4).
func (f *Fold) countOpen() {
	for _, in := range f.recent {
		if in.States == nil {
			in.Counted = true
			f.history.Add(in.Class, in.Header.Time, len(in.Digests))
		}
	}
	f.recent = f.recent[:0]
}

// admit replays the policy's decision at the intent's time.
func (f *Fold) admit(t *task.Task) {
	r := t.Request
	t.Intent.Class = r.Approval.Class
	if before, ok := f.byID[r.Job]; ok && !before.over(t.Header.Time) {
		f.Say(finding.Of(finding.Evidence, finding.Repeated, fmt.Sprintf("job %s of intent %d comes again in intent %d", r.Job, before.intent, t.Index), []uint64{before.intent, t.Index}))
	}
	f.remember(t, r)
	if t.Depth == task.Recalled {
		return // it was admitted, and the boot entry behind it tells what HEAD took
	}
	p := t.Keys.Policy
	if f.news() {
		f.looks(p, t.Header.Time)
	}
	if c, ok := p.Class(r.Approval.Class); ok && t.Intent.Key != nil && !slices.Contains(c.Keys, t.Intent.Key.Name) {
		f.note(finding.Evidence, finding.Key, t.Index, "class %s of intent %d is signed with key %s, not with key %q", c.Name, t.Index, strings.Join(c.Keys, " or "), t.Intent.Key.Name)
	}
	if _, err := p.Admit(r, f.history, t.Header.Time); err != nil {
		f.note(finding.Evidence, finding.Breach, t.Index, "policy does not admit intent %d: %v", t.Index, err)
		return
	}
	_, err := p.Admit(r, f.taken, t.Header.Time)
	t.Intent.Burst = err != nil // the rates are all that differs
}

// looks notes how far back a decision of the policy at this time depends on the
// log: on what counts in its rates, and on approvals that are good yet, by
// whatever policy they were given.
func (f *Fold) looks(p *policy.Policy, now time.Time) {
	f.validity = max(f.validity, p.MaxValidity)
	if back := now.Add(-max(p.LongestWindow(), f.validity)); f.looked.IsZero() || back.Before(f.looked) {
		f.looked = back
	}
}

// LookedBack is the time from which on the verdict depends on all entries of the
// log, however many were audited before; zero if on none but those.
func (f *Fold) LookedBack() time.Time { return f.looked }

// remember keeps a job for as long as its approval is good: after that policy
// refuses it anyway.
func (f *Fold) remember(t *task.Task, r *policy.Request) {
	if f.unswept++; f.unswept >= max(f.swept, jobSweep) {
		f.sweep(t.Header.Time)
	}
	if len(f.byID) >= maxJobs {
		f.note(finding.Warning, finding.JobsForgotten, t.Index, "more than %d jobs are good at once: it would not be seen if that of intent %d came again", maxJobs, t.Index)
		return
	}
	f.byID[r.Job] = jobRecord{t.Index, r.Approval.NotAfter.Unix()}
}

// sweep forgets what no policy can ask for any more, a later one with longer
// windows included.
func (f *Fold) sweep(now time.Time) {
	for id, j := range f.byID {
		if j.over(now) {
			delete(f.byID, id)
		}
	}
	f.swept, f.unswept = len(f.byID), 0
	f.history.Forget(now.Add(-policy.MaxWindow))
	f.taken.Forget(now.Add(-policy.MaxWindow))
}

func (f *Fold) outcome(t *task.Task, b *ledger.Outcome) {
	in := t.Intent
	if in == nil {
		return
	}
	counts := 0
	for _, s := range statesOf(in, b) {
		if f.news() && in.Cert == nil {
			f.report.Items[string(s)]++
		}
		in.States = append(in.States, s)
		if s.Counts() {
			counts++
		}
	}
	if !in.Counted && in.Cert == nil {
		f.history.Add(in.Class, in.Header.Time, counts)
	}
	f.judge(in)
}

// statesOf is what an outcome says of each item of its intent. One that does
// not fit says nothing: all of them are unknown, so that no lie frees a rate.
func statesOf(in *task.Intent, b *ledger.Outcome) []ledger.State {
	if !in.Fits(b) {
		return slices.Repeat([]ledger.State{ledger.Unknown}, max(1, len(in.Digests)))
	}
	states := make([]ledger.State, len(b.Items))
	for i, it := range b.Items {
		states[i] = it.State
	}
	return states
}

// openEnds says what remains open at the end of the log.
func (f *Fold) openEnds() {
	for _, in := range f.unsure {
		if slices.ContainsFunc(in.States, ledger.State.Asked) {
			f.note(finding.Warning, finding.Unattested, in.Index, "the token was asked for %s; the attestation of its commit is not in the log yet", in.What())
		}
		f.maybeSigned(in)
	}
	for _, in := range f.waiting {
		f.lacksOutcome(in)
	}
}

// Held is how many intents are remembered.
func (f *Fold) Held() int { return max(len(f.unsure), len(f.waiting), len(f.recent)) }
