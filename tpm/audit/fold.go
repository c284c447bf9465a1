package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
)

// fold takes verified entries in order and keeps what the present depends on.
type fold struct {
	replay anchor.Replay
	found  findings
	report Report

	sequence uint64
	last     time.Time
	history  *policy.History
	jobs     map[message.JobID]jobRecord
	open     map[uint64]*openIntent
	asked    map[uint64]*openIntent // the token was asked, the commit of this size is not shown yet
}

// jobRecord is a job that may not come again while its approval is good.
type jobRecord struct {
	intent   uint64
	notAfter time.Time
}

func newFold() *fold {
	return &fold{
		history: policy.NewHistory(), jobs: map[message.JobID]jobRecord{}, open: map[uint64]*openIntent{},
		asked: map[uint64]*openIntent{}, report: Report{Items: map[string]uint64{}},
	}
}

func (f *fold) add(t *task, r *roots) {
	for _, n := range t.notes {
		f.found.add(n)
	}
	if t.body == nil {
		return
	}
	f.time(t)
	switch b := t.body.(type) {
	case *ledger.Boot:
		f.boot(t, b)
	case *ledger.Attest:
		if t.rooted {
			f.problems(f.replay.Attest(b, t.x, t.nv, t.quote), t.index)
			f.committed(b.Size)
		}
	case *ledger.Intent:
		f.intent(t, b)
	case *ledger.Outcome:
		f.outcome(t, b, r)
	}
}

func (f *fold) note(s Severity, code string, entry uint64, format string, a ...any) {
	f.found.add(remark{s, code, fmt.Sprintf(format, a...), []uint64{entry}})
}

func (f *fold) problems(ps []anchor.Problem, entry uint64) {
	for _, p := range ps {
		s := Evidence
		if p.Info {
			s = Info
		}
		f.note(s, p.Code, entry, "%s", p.Text)
	}
}

func (f *fold) time(t *task) {
	if t.index == 0 {
		f.report.First = t.header.Time
	}
	if t.header.Time.Before(f.last) {
		f.note(Evidence, CodeTime, t.index, "entry %d has time %s, an earlier one %s", t.index, clock(t.header.Time), clock(f.last))
		return
	}
	f.last, f.report.Last = t.header.Time, t.header.Time
}

func (f *fold) boot(t *task, b *ledger.Boot) {
	f.report.Boots++
	if t.rooted {
		f.problems(f.replay.Boot(b, t.x, t.nv, t.quote), t.index)
		f.committed(b.Committed)
	}
	if t.keys.policy != nil && b.Policy != t.keys.policy.Hash {
		f.note(Evidence, CodePolicyHash, t.index, "boot entry %d names another policy than the one in force", t.index)
	}
	if b.Clock == ledger.ClockHostUnset {
		f.note(Info, CodeClockUnset, t.index, "nobody confirmed the time at this start: times are ordered, not true")
	}
	if b.Recovery != "clean" {
		f.note(Info, CodeBootRecovery, t.index, "this start found something to recover: %s", b.Recovery)
	}
}

// committed notes that HEAD took a size: intents up to it were committed
// before their token was asked if one of them is its last leaf.
func (f *fold) committed(size uint64) { delete(f.asked, size) }

func (f *fold) intent(t *task, b *ledger.Intent) {
	f.report.Intents++
	f.report.Refusals += b.Refusals
	f.sequence++
	if b.Sequence != f.sequence {
		f.note(Evidence, CodeSequence, t.index, "intent %d has sequence %d, want %d", t.index, b.Sequence, f.sequence)
		f.sequence = b.Sequence
	}
	f.countOpen()
	f.open[t.index] = t.intent
	if t.forked != "" {
		f.note(Evidence, CodeHeadFork, t.index, "intent %d: %s", t.index, t.forked)
	}
	if k := t.keys; k.key != nil && b.Key != k.key.Fingerprint() {
		f.note(Evidence, CodeKey, t.index, "intent %d is for key %X", t.index, b.Key)
	}
	if t.keys.policy == nil || t.request == nil {
		return
	}
	if b.Policy != t.keys.policy.Hash {
		f.note(Evidence, CodePolicyHash, t.index, "intent %d names another policy than the one in force", t.index)
	}
	f.admit(t)
}

// countOpen counts intents that still have no outcome when the next one comes
// as unknown (docs/spec/policy.md, section 4).
func (f *fold) countOpen() {
	for _, in := range f.open {
		if !in.counted {
			in.counted = true
			f.history.Add(in.class, in.header.Time, len(in.digests))
		}
	}
}

// admit replays the policy's decision at the intent's time.
func (f *fold) admit(t *task) {
	r := t.request
	t.intent.class = r.Approval.Class
	if before, ok := f.jobs[r.Job]; ok {
		f.found.add(remark{Evidence, CodeRepeated, fmt.Sprintf("job %s of intent %d comes again in intent %d", r.Job, before.intent, t.index), []uint64{before.intent, t.index}})
	}
	f.jobs[r.Job] = jobRecord{t.index, r.Approval.NotAfter}
	if f.report.Intents%jobSweep == 0 {
		f.sweep(t.header.Time, t.keys.policy.LongestWindow())
	}
	if _, err := t.keys.policy.Admit(r, f.history, t.header.Time); err != nil {
		f.note(Evidence, CodeBreach, t.index, "policy does not admit intent %d: %v", t.index, err)
	}
}

func (f *fold) sweep(now time.Time, window time.Duration) {
	for id, j := range f.jobs {
		if now.After(j.notAfter) {
			delete(f.jobs, id)
		}
	}
	f.history.Forget(now.Add(-window))
}

func (f *fold) outcome(t *task, b *ledger.Outcome, r *roots) {
	if t.intent == nil {
		return
	}
	delete(f.open, t.intent.index)
	counts, asked := 0, false
	for _, it := range b.Items {
		f.report.Items[string(it.State)]++
		if it.State.Counts() {
			counts++
		}
		if it.State.MayHaveSigned() {
			f.note(Info, CodeMaybeSigned, t.intent.index, "%s: a signature may exist that is not in the log; if somebody touched the token for it, raise the alarm", it.State)
		}
		asked = asked || it.State == ledger.Signed || it.State == ledger.Withheld || it.State == ledger.TimedOut
	}
	if !t.intent.counted {
		f.history.Add(t.intent.class, t.intent.header.Time, counts)
	}
	if size := t.intent.index + 1; asked && !r.isCommitted(size) {
		f.asked[size] = t.intent
	}
}

// finish says what remains open at the end of the log.
func (f *fold) finish(r *roots, hasCP bool, limit uint64) {
	newest := uint64(0)
	if len(r.sizes) > 0 {
		newest = r.sizes[len(r.sizes)-1]
	}
	for _, size := range slices.Sorted(maps.Keys(f.asked)) {
		in := f.asked[size]
		if size < newest {
			f.note(Evidence, CodeUncommitted, in.index, "the token was asked for intent %d, but no commit ends with it", in.index)
		} else {
			f.note(Warning, CodeUnattested, in.index, "the token was asked for intent %d; the attestation of its commit is not in the log yet", in.index)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(f.open)) {
		in := f.open[i]
		if in.last {
			f.note(Info, CodeInFlight, in.index, "intent %d has no outcome yet", in.index)
		} else {
			f.note(Warning, CodeNoOutcome, in.index, "intent %d has no outcome, though the appliance went on: it counts as signed", in.index)
		}
	}
	if hasCP && newest > limit {
		f.note(Info, CodeStale, newest-1, "size %d was committed, the published checkpoint has %d", newest, limit)
	}
	if f.report.Refusals > 0 {
		f.found.add(remark{Info, CodeRefusedJobs, fmt.Sprintf("%d requests were refused", f.report.Refusals), nil})
	}
}
