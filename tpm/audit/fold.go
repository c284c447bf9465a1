package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
)

// fold takes verified entries in order and keeps what the present depends on.
type fold struct {
	replay anchor.Replay
	found  finding.List
	report Report

	sequence uint64
	last     time.Time
	history  *policy.History // what counts in rates
	taken    *policy.History // all items of intents that HEAD took
	jobs     map[message.JobID]jobRecord
	swept    int           // jobs left by the last sweep
	unswept  int           // jobs since
	waiting  []*openIntent // no outcome yet, and some that have one
	recent   []*openIntent // not looked at by countOpen yet
	unsure   []*openIntent // not known yet whether HEAD took it

	booted  bool        // a boot entry came
	newest  *openIntent // the last that HEAD took
	noQuote bool        // a commit has no quote, and no boot entry came since
	segment segment

	begun time.Time // of the genesis entry
	index uint64    // of the present entry
	quiet uint64    // size audited before
	goOn  bool      // the first intent is not the log's first

	closed            bool
	firmware, updated string // of the newest boot entry; of an update entry behind it
}

// jobRecord is a job that may not come again while its approval is good.
type jobRecord struct {
	intent   uint64
	notAfter int64 // seconds since 1970
}

func newFold() *fold {
	return &fold{
		history: policy.NewHistory(), taken: policy.NewHistory(), jobs: map[message.JobID]jobRecord{},
		report: Report{Items: map[string]uint64{}, Refused: map[string]uint64{}},
	}
}

func (f *fold) add(t *task) {
	f.index = t.index
	for _, n := range t.notes {
		f.say(n)
	}
	if t.body == nil {
		return
	}
	if t.effect != nil {
		f.effect(t.effect) // the clock may be another from this entry on
	}
	f.time(t)
	if f.closed {
		f.afterClose(t)
	}
	switch b := t.body.(type) {
	case *ledger.Genesis:
		f.genesis(t, b)
	case *ledger.Update:
		f.update(t, b)
	case *ledger.Boot:
		f.boot(t, b)
	case *ledger.Attest:
		f.attest(t, b)
	case *ledger.Intent:
		f.intent(t, b)
	case *ledger.Outcome:
		f.outcome(t, b)
	case *ledger.Order:
		f.replay.Order(b, t.index, t.nv)
	}
}

// genesis folds entry 0; a second one is a finding of its own.
func (f *fold) genesis(t *task, b *ledger.Genesis) {
	if t.index > 0 {
		return
	}
	f.problems(f.replay.Genesis(b), 0)
	f.report.Base, f.report.Predecessor = canon.Hex(b.Base[:]), logID(b.Predecessor)
	if b.Predecessor.Origin != "" {
		f.note(finding.Info, finding.Predecessor, 0, "the log goes on from %s", b.Predecessor.Origin)
	}
}

// say takes a remark, but on what was audited before.
func (f *fold) say(r finding.Remark) {
	if f.index >= f.quiet {
		f.found.Add(r)
	}
}

// news reports whether the present entry counts in the report.
func (f *fold) news() bool { return f.index >= f.quiet }

func (f *fold) note(s finding.Severity, code string, entry uint64, format string, a ...any) {
	f.say(finding.Of(s, code, fmt.Sprintf(format, a...), []uint64{entry}))
}

func (f *fold) problems(ps []anchor.Problem, entry uint64) {
	for _, p := range ps {
		s := finding.Evidence
		switch {
		case p.Info:
			s = finding.Info
		case p.Warning:
			s = finding.Warning
		}
		f.note(s, p.Code, entry, "%s", p.Text)
	}
}

func (f *fold) time(t *task) {
	if f.news() && f.report.First.IsZero() {
		f.report.First = t.header.Time
	}
	if t.index == 0 {
		f.begun = t.header.Time
	}
	if t.header.Time.Before(f.last) {
		f.note(finding.Evidence, finding.Time, t.index, "entry %d has time %s, an earlier one %s", t.index, clock(t.header.Time), clock(f.last))
		return
	}
	f.last, f.report.Last = t.header.Time, t.header.Time
}

func (f *fold) boot(t *task, b *ledger.Boot) {
	f.booted = true
	if f.news() {
		f.report.Boots++
	}
	f.noQuote = false
	f.segment.begin(t)
	f.checkFirmware(t, b)
	if t.rooted {
		f.problems(f.replay.Boot(b, t.x, t.nv, t.quote), t.index)
		f.committed(b.Committed)
	}
	if t.keys.policy != nil && b.Policy != t.keys.policy.Hash {
		f.note(finding.Evidence, finding.PolicyHash, t.index, "boot entry %d names another policy than the one in force", t.index)
	}
	if b.Clock == ledger.ClockHostUnset {
		f.note(finding.Info, finding.ClockUnset, t.index, "nobody confirmed the time at this start: times are ordered, not true")
	}
	if b.Recovery != "clean" {
		f.note(finding.Info, finding.BootRecovery, t.index, "this start found something to recover: %s", b.Recovery)
	}
}

func (f *fold) attest(t *task, b *ledger.Attest) {
	f.noQuote = f.noQuote || !b.HasQuote()
	if !t.rooted {
		return
	}
	f.problems(f.replay.Attest(b, t.x, t.nv, t.quote), t.index)
	f.committed(b.Size)
	if in := f.newest; in != nil && in.index+1 == b.Size {
		if text := f.segment.stretched(in.header.Time, t); text != "" {
			f.note(finding.Warning, finding.Stretched, in.index, "intent %d: %s", in.index, text)
		}
	}
}

// committed notes that HEAD took a size: the intent that is its last leaf was
// committed, those below are not, and never will be.
func (f *fold) committed(size uint64) {
	for len(f.unsure) > 0 && f.unsure[0].index < size {
		f.settle(f.unsure[0].index+1 == size)
	}
}

// settle says of the first of the unsure intents whether HEAD took it.
func (f *fold) settle(taken bool) {
	in := f.unsure[0]
	f.unsure = f.unsure[1:]
	in.settled, in.taken = true, taken
	if taken {
		f.newest = in
		f.taken.Add(in.class, in.header.Time, len(in.digests))
	}
	if taken && in.burst {
		f.note(finding.Warning, finding.Burst, in.index, "if every item of each intent that HEAD took was signed, whatever its outcome says, a rate of class %s is exceeded at intent %d", in.class, in.index)
	}
	f.judge(in)
}

// giveUp ends the wait for what is so far back that no entry may speak of it
// any more: for commits and for outcomes.
func (f *fold) giveUp(index uint64) {
	for len(f.unsure) > 0 && f.unsure[0].index+history.Window <= index {
		f.settle(false)
	}
	for len(f.waiting) > 0 && (f.waiting[0].states != nil || f.waiting[0].index+history.Window <= index) {
		f.lacksOutcome(f.waiting[0])
		f.waiting = f.waiting[1:]
	}
}

func (f *fold) lacksOutcome(in *openIntent) {
	switch {
	case in.states != nil:
	case in.last:
		f.note(finding.Info, finding.InFlight, in.index, "intent %d has no outcome yet", in.index)
	default:
		f.note(finding.Warning, finding.NoOutcome, in.index, "intent %d has no outcome, though the appliance went on: it counts as signed", in.index)
	}
}

// judge compares what an outcome says with whether HEAD took the intent, both
// being known.
func (f *fold) judge(in *openIntent) {
	if !in.settled || in.states == nil {
		return
	}
	if !in.taken && slices.ContainsFunc(in.states, ledger.State.Asked) {
		f.note(finding.Evidence, finding.Uncommitted, in.index, "the token was asked for intent %d, but no commit ends with it", in.index)
	}
	f.maybeSigned(in)
}

func (f *fold) maybeSigned(in *openIntent) {
	for _, s := range in.states {
		if s.MayHaveSigned(in.taken) {
			f.note(finding.Info, finding.MaybeSigned, in.index, "%s: a signature may exist that is not in the log; if somebody touched the token for it, raise the alarm", s)
		}
	}
}

func (f *fold) intent(t *task, b *ledger.Intent) {
	if f.goOn && f.sequence == 0 {
		f.sequence = b.Sequence - 1
	}
	if f.news() {
		f.countIntent(b)
	}
	f.sequence++
	if b.Sequence != f.sequence {
		f.note(finding.Evidence, finding.Sequence, t.index, "intent %d has sequence %d, want %d", t.index, b.Sequence, f.sequence)
		f.sequence = b.Sequence
	}
	f.countOpen()
	f.giveUp(t.index)
	f.recent, f.unsure, f.waiting = append(f.recent, t.intent), append(f.unsure, t.intent), append(f.waiting, t.intent)
	switch {
	case !f.booted:
		f.note(finding.Evidence, finding.NoBoot, t.index, "intent %d stands before the first boot entry", t.index)
	case f.noQuote:
		f.note(finding.Evidence, finding.NoBoot, t.index, "intent %d follows a commit without a quote, and no boot entry stands in between", t.index)
	}
	switch {
	case t.forked != "":
		f.note(finding.Evidence, finding.HeadFork, t.index, "intent %d: %s", t.index, t.forked)
	case t.unchecked:
		f.note(finding.Warning, finding.HeadUnchecked, t.index, "intent %d: the host had verified a size far back, and no published hash tiles tell its root", t.index)
	}
	if k := t.keys; k.key != nil && b.Key != k.key.Fingerprint() {
		f.note(finding.Evidence, finding.Key, t.index, "intent %d is for key %X", t.index, b.Key)
	}
	if t.keys.policy == nil || t.request == nil {
		return
	}
	if b.Policy != t.keys.policy.Hash {
		f.note(finding.Evidence, finding.PolicyHash, t.index, "intent %d names another policy than the one in force", t.index)
	}
	f.admit(t)
}

// countIntent adds up intents and what was refused, by code. A log of lies
// could make up any number of codes: those beyond a bound count as no code's.
func (f *fold) countIntent(b *ledger.Intent) {
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
func (f *fold) countOpen() {
	for _, in := range f.recent {
		if in.states == nil {
			in.counted = true
			f.history.Add(in.class, in.header.Time, len(in.digests))
		}
	}
	f.recent = f.recent[:0]
}

// admit replays the policy's decision at the intent's time.
func (f *fold) admit(t *task) {
	r := t.request
	t.intent.class = r.Approval.Class
	if before, ok := f.jobs[r.Job]; ok {
		f.say(finding.Of(finding.Evidence, finding.Repeated, fmt.Sprintf("job %s of intent %d comes again in intent %d", r.Job, before.intent, t.index), []uint64{before.intent, t.index}))
	}
	f.remember(t, r)
	p := t.keys.policy
	if c, ok := p.Class(r.Approval.Class); ok && c.Key != t.keys.name {
		f.note(finding.Evidence, finding.Key, t.index, "class %s of intent %d is signed with key %q, this log is of key %q", c.Name, t.index, c.Key, t.keys.name)
	}
	if _, err := p.Admit(r, f.history, t.header.Time); err != nil {
		f.note(finding.Evidence, finding.Breach, t.index, "policy does not admit intent %d: %v", t.index, err)
		return
	}
	_, err := p.Admit(r, f.taken, t.header.Time)
	t.intent.burst = err != nil // the rates are all that differs
}

// remember keeps a job for as long as its approval is good: after that policy
// refuses it anyway.
func (f *fold) remember(t *task, r *policy.Request) {
	if f.unswept++; f.unswept >= max(f.swept, jobSweep) {
		f.sweep(t.header.Time, t.keys.policy.LongestWindow())
	}
	if len(f.jobs) >= maxJobs {
		f.note(finding.Warning, finding.JobsForgotten, t.index, "more than %d jobs are good at once: it would not be seen if that of intent %d came again", maxJobs, t.index)
		return
	}
	f.jobs[r.Job] = jobRecord{t.index, r.Approval.NotAfter.Unix()}
}

func (f *fold) sweep(now time.Time, window time.Duration) {
	for id, j := range f.jobs {
		if now.Unix() > j.notAfter {
			delete(f.jobs, id)
		}
	}
	f.swept, f.unswept = len(f.jobs), 0
	f.history.Forget(now.Add(-window))
	f.taken.Forget(now.Add(-window))
}

func (f *fold) outcome(t *task, b *ledger.Outcome) {
	in := t.intent
	if in == nil {
		return
	}
	counts := 0
	for _, it := range b.Items {
		if f.news() {
			f.report.Items[string(it.State)]++
		}
		in.states = append(in.states, it.State)
		if it.State.Counts() {
			counts++
		}
	}
	if !in.counted {
		f.history.Add(in.class, in.header.Time, counts)
	}
	f.judge(in)
}

// finish says what remains open at the end of the log.
func (f *fold) finish(log *history.Log, hasCP bool, limit uint64) {
	for _, in := range f.unsure {
		if slices.ContainsFunc(in.states, ledger.State.Asked) {
			f.note(finding.Warning, finding.Unattested, in.index, "the token was asked for intent %d; the attestation of its commit is not in the log yet", in.index)
		}
		f.maybeSigned(in)
	}
	for _, in := range f.waiting {
		f.lacksOutcome(in)
	}
	if newest := log.Newest(); hasCP && newest > limit {
		f.note(finding.Info, finding.Stale, newest-1, "size %d was committed, the published checkpoint has %d", newest, limit)
	}
	if f.report.Refusals > 0 {
		text := fmt.Sprintf("%d requests were refused", f.report.Refusals)
		for _, code := range slices.Sorted(maps.Keys(f.report.Refused)) {
			text += fmt.Sprintf(", %d %s", f.report.Refused[code], code)
		}
		f.say(finding.Of(finding.Info, finding.RefusedJobs, text, nil))
	}
}
