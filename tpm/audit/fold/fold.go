// Package fold judges the entries of a log in order, after they were verified:
// it replays HEAD, PCR, counters and clock, follows jobs to their ends, replays
// what policy admits, and keeps of the past no more than the present depends
// on.
//
// Memory does not depend on the length of the log. The package is pure.
package fold

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
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// Fold judges one log. Make one with New.
type Fold struct {
	jobs

	replay anchor.Replay
	found  finding.List
	// claimed is what holds only if the published leaf hashes, and not the entries, are
	// what was committed.
	claimed finding.List
	report  report.Report

	booted  bool // a boot entry came
	noQuote bool // a commit has no quote, and no boot entry came since
	segment segment

	begun time.Time // of the genesis entry
	last  time.Time // the newest
	index uint64    // of the present entry
	quiet uint64    // size audited before

	writes   uint64        // of HEAD before the first entry
	validity time.Duration // the longest that a policy so far gives an approval
	looked   time.Time     // how far back what was judged depends on the log; zero if nothing was

	// Builds are the image's that were published, to compare each start with; set them
	// before an entry is added.
	Builds []golden.Image

	closed            bool
	firmware, updated string        // of the newest boot entry; of an update entry behind it
	images            []order.Image // that were ordered
}

// New begins at the genesis entry. Nothing is said of entries below quiet: they
// were audited before.
func New(quiet uint64) *Fold {
	return &Fold{
		quiet:  quiet,
		jobs:   jobs{history: policy.NewHistory(), taken: policy.NewHistory(), byID: map[message.JobID]jobRecord{}},
		report: report.Report{Items: map[string]uint64{}, Refused: map[string]uint64{}},
	}
}

// GoOn begins at a boot entry instead, of a log that began with this entry.
func (f *Fold) GoOn(start *incremental.Start, genesis *task.Task) {
	f.replay, f.begun = anchor.ReplayAt(start.Boot), genesis.Header.Time
	f.sequence, f.validity = start.Sequence, start.Validity
	f.writes = 1 + start.Sequence + uint64(len(start.Orders)) // at most: HEAD may not have taken each intent
	for _, o := range start.Orders {
		if o.Kind == ledger.KindClose {
			f.replay.CloseAt(o.Index + 1) // whoever ordered it
		}
		f.Effect(o.Order)
	}
	if g, ok := genesis.Body.(*ledger.Genesis); ok {
		f.origin(g)
	}
}

// origin is what the log says of what was before it.
func (f *Fold) origin(g *ledger.Genesis) {
	f.report.Base, f.report.Predecessor = canon.Hex(g.Base[:]), report.IDOf(g.Predecessor)
}

// Add judges the next entry.
func (f *Fold) Add(t *task.Task) {
	f.index = t.Index
	for _, n := range t.Notes {
		f.Say(n)
	}
	if f.news() {
		for _, n := range t.Claimed {
			f.claimed.Add(n)
		}
	}
	if t.Body == nil {
		return
	}
	if t.Effect != nil {
		f.Effect(t.Effect) // the clock may be another from this entry on
	}
	f.time(t)
	if f.closed {
		f.afterClose(t)
	}
	switch b := t.Body.(type) {
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
		f.replay.Order(b, t.Index, t.NV)
		if t.Intent != nil {
			f.follow(t)
		}
	}
}

// genesis folds entry 0; a second one is a finding of its own.
func (f *Fold) genesis(t *task.Task, b *ledger.Genesis) {
	if t.Index > 0 {
		return
	}
	f.problems(f.replay.Genesis(b), 0)
	f.origin(b)
	if b.Predecessor.Origin != "" {
		f.note(finding.Info, finding.Predecessor, 0, "the log goes on from %s", b.Predecessor.Origin)
	}
}

// Say takes a remark, but on what was audited before.
func (f *Fold) Say(r finding.Remark) {
	if f.index >= f.quiet {
		f.found.Add(r)
	}
}

// news reports whether the present entry counts in the report.
func (f *Fold) news() bool { return f.index >= f.quiet }

func (f *Fold) note(s finding.Severity, code string, entry uint64, format string, a ...any) {
	f.Say(finding.Of(s, code, fmt.Sprintf(format, a...), []uint64{entry}))
}

func (f *Fold) problems(ps []anchor.Problem, entry uint64) {
	for _, p := range ps {
		s := finding.Evidence
		switch {
		case p.Info:
			s = finding.Info
		case p.Warning:
			s = finding.Warning
		}
		at := entry
		if p.Code == anchor.CodeResumed {
			at = p.Resume
		}
		f.note(s, p.Code, at, "%s", p.Text)
	}
}

func (f *Fold) time(t *task.Task) {
	if f.news() && f.report.First.IsZero() {
		f.report.First = t.Header.Time
	}
	if t.Index == 0 {
		f.begun = t.Header.Time
	}
	if t.Header.Time.Before(f.last) {
		f.note(finding.Evidence, finding.Time, t.Index, "entry %d has time %s, an earlier one %s", t.Index, canon.Time(t.Header.Time), canon.Time(f.last))
		return
	}
	f.last, f.report.Last = t.Header.Time, t.Header.Time
}

func (f *Fold) boot(t *task.Task, b *ledger.Boot) {
	f.booted = true
	if f.news() {
		f.report.Boots++
	}
	f.noQuote = false
	if text := f.segment.begin(t, b.Clock != ledger.ClockHostUnset); text != "" {
		f.note(finding.Warning, finding.Stretched, t.Index, "boot entry %d: %s", t.Index, text)
	}
	f.checkFirmware(t, b)
	if t.Rooted {
		f.problems(f.replay.Boot(b, t.X, t.NV, t.Quote), t.Index)
		f.committed(b.Committed)
	}
	if t.Keys.Policy != nil && b.Policy != t.Keys.Policy.Hash {
		f.note(finding.Evidence, finding.PolicyHash, t.Index, "boot entry %d names another policy than the one in force", t.Index)
	}
	if b.Clock == ledger.ClockHostUnset {
		f.note(finding.Info, finding.ClockUnset, t.Index, "nobody confirmed the time at this start: times are ordered, not true")
	}
	if b.Recovery != "clean" {
		f.note(finding.Info, finding.BootRecovery, t.Index, "this start found something to recover: %s", b.Recovery)
	}
	if f.Builds != nil {
		f.measured(t, b)
	}
}

// measured compares what a start says that it booted with what was published.
func (f *Fold) measured(t *task.Task, b *ledger.Boot) {
	switch golden.Compare(b, f.Builds) {
	case golden.Foreign:
		f.note(finding.Warning, finding.BootForeign, t.Index, "this start booted what none of the builds given is: firmware %s, measured %s", b.Firmware, b.Measured)
	case golden.Unknown:
		f.note(finding.Info, finding.BootUnknown, t.Index, "this start does not say all of what it booted: firmware %s, measured %s", b.Firmware, b.Measured)
	}
}

func (f *Fold) attest(t *task.Task, b *ledger.Attest) {
	f.noQuote = f.noQuote || !b.HasQuote()
	if !t.Rooted {
		return
	}
	f.problems(f.replay.Attest(b, t.X, t.NV, t.Quote), t.Index)
	f.segment.attested(t)
	f.committed(b.Size)
	if in := f.newest; in != nil && in.Index+1 == b.Size {
		if text := f.segment.stretched(in.Header.Time, t); text != "" {
			f.note(finding.Warning, finding.Stretched, in.Index, "%s: %s", in.What(), text)
		}
	}
}

// Checkpoint judges the checkpoint, all entries that it covers being folded.
func (f *Fold) Checkpoint(cp *anchor.Checkpoint) {
	f.problems(f.replay.Checkpoint(cp), cp.Size-1)
}

// Watch has the replay look for the place of what a TPM said over an auditor's
// nonce. Call it before any entry is added.
func (f *Fold) Watch(nv quote.NVFacts, q quote.QuoteFacts) { f.replay.Watch(nv, q) }

// Answer judges that, all entries being added: newer says that it is known to
// be newer than the log, of this size; next are the commits that the log's end
// leads to. It reports where in the log the TPM stood, and whether HEAD and PCR
// stood there as they must.
func (f *Fold) Answer(newer bool, size uint64, next []anchor.Commit) (anchor.Place, bool) {
	place, problems := f.replay.Answer(newer, next)
	f.problems(problems, size-1)
	return place, !slices.ContainsFunc(problems, func(p anchor.Problem) bool { return !p.Info })
}

// OverEntries notes, all being added, that the checkpoint is over the entries: what holds
// over the published leaf hashes only does not hold.
func (f *Fold) OverEntries() { f.found.Join(&f.claimed) }

// At has what is said from here on count as said of an entry of this index.
func (f *Fold) At(index uint64) { f.index = index }

// Committed notes a size that the checkpoint says was committed, and the order
// that took effect with it, nil for none.
func (f *Fold) Committed(size uint64, effect *task.Order) {
	if effect != nil {
		f.Effect(effect)
	}
	f.committed(size)
}

// Report closes the account: newest is the newest size known to be committed,
// commits how many there are, limit the published checkpoint's, 0 if unknown.
func (f *Fold) Report(newest, commits, limit uint64) *report.Report {
	f.openEnds()
	if limit > 0 && newest > limit {
		f.note(finding.Info, finding.Stale, newest-1, "size %d was committed, the published checkpoint has %d", newest, limit)
	}
	if f.report.Refusals > 0 {
		text := fmt.Sprintf("%d requests were refused", f.report.Refusals)
		for _, code := range slices.Sorted(maps.Keys(f.report.Refused)) {
			text += fmt.Sprintf(", %d %s", f.report.Refused[code], code)
		}
		f.Say(finding.Of(finding.Info, finding.RefusedJobs, text, nil))
	}
	f.wear(commits)
	r := f.report
	head := f.replay.Head()
	r.Head, r.Commits, r.Since = canon.Hex(head[:]), commits, f.quiet
	r.Findings = f.found.Sorted()
	r.Verdict = finding.Verdict(r.Findings)
	return &r
}

// wear says how often HEAD was written, and for how long its memory may last.
func (f *Fold) wear(commits uint64) {
	writes := f.writes + commits
	days := f.last.Sub(f.begun).Hours() / 24
	text := fmt.Sprintf("HEAD was written %d times", writes)
	if days >= 1 && writes > 0 {
		rate := float64(writes) / days
		text += fmt.Sprintf(", %.0f times a day", rate)
		for _, life := range []uint64{wearLeast, wearMost} {
			if writes < life {
				text += fmt.Sprintf("; %d writes are reached in %.0f days", life, float64(life-writes)/rate)
			}
		}
	}
	s := finding.Info
	if writes > wearLeast-wearLeast/5 {
		s, text = finding.Warning, text+": the TPM's memory is made for 100000 to 500000; prepare a successor log"
	}
	f.Say(finding.Of(s, finding.Wear, text, nil))
}
