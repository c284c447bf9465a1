package anchor

import (
	"fmt"

	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Problem is something in a log that an honest appliance with an honest TPM
// would not have written, or, when Info is set, merely worth knowing, or, when
// Warning is set, to be kept in mind for ever.
type Problem struct {
	Code          string // Code*
	Text          string
	Info, Warning bool
	Resume        uint64 // CodeResumed: index of the resume entry
}

// The codes of problems that Replay finds.
const (
	CodeHead       = "head-mismatch"    // a certified HEAD is not the replay of the commits
	CodePCR        = "pcr-mismatch"     // a quoted PCR is not the replay since the last reset
	CodeOrder      = "commit-order"     // a committed size is below one committed earlier
	CodeBootNumber = "boot-number"      // boots are not numbered 1, 2, 3, ...
	CodeReset      = "reset-unlogged"   // the TPM was reset with no boot entry in between
	CodeCounter    = "counter-backward" // resetCount or restartCount went back
	CodeClock      = "clock-backward"   // the TPM's clock went back within a segment
	CodeResets     = "resets-unseen"    // the TPM was reset more than once between two entries
	CodePCRUnknown = "pcr-unknown"      // the PCR could not be followed after an earlier problem
	CodeInherited  = "head-inherited"   // HEAD had taken other commits before the genesis entry
	CodeResumed    = "resumed"          // administrators led the board out of a halt state
	CodeClosed     = "closed-continued" // the log went on after it was closed
)

// Replay folds a log's commits in order and compares every attestation with
// what HEAD and PCR must have been. The commits are the sizes that attest
// entries, boot entries and the checkpoint name. An appliance never makes a
// commit before the previous one's attest entry or a boot entry naming it is in
// the log, so no commit is missing here.
type Replay struct {
	committed uint64
	head, pcr [32]byte
	pcrLost   bool
	alone     [32]byte // the PCR with only the newest commit in it, zero once a quote vouched for that
	boots     uint64
	clock     quote.Clock
	clocked   bool
	pending   []effect // administrative entries that HEAD may have taken, oldest first
	closed    uint64   // size of the commit that closed the log, 0 if none did
	problems  []Problem
	partial   bool     // it began inside a log
	witness   *witness // an answer whose place is looked for, nil for none
}

// effect is what an administrative entry does once HEAD took the commit of
// this size, which ends with it.
type effect struct {
	size uint64
	do   func(*Replay)
}

// Committed is the newest size that HEAD is known to have taken.
func (r *Replay) Committed() uint64 { return r.committed }

// Head is HEAD after that commit.
func (r *Replay) Head() [32]byte { return r.head }

// Closed reports whether HEAD took a close entry. Then only attest, update and
// boot entries may follow.
func (r *Replay) Closed() bool { return r.closed > 0 }

// Genesis folds entry 0: HEAD may have a past.
func (r *Replay) Genesis(g *ledger.Genesis) []Problem {
	r.head = g.Base
	if g.Base != [32]byte{} {
		r.info(CodeInherited, "HEAD had taken other commits before this log began: the TPM was cleared and enrolled again")
	}
	return r.take()
}

// Order folds an administrative entry of this index; nv is what a resume
// entry's attestation says, nil if it does not verify. It counts when HEAD
// took the commit that ends with it; the problem of a resume entry is answered
// then.
func (r *Replay) Order(o *ledger.Order, index uint64, nv *quote.NVFacts) {
	switch {
	case o.Action == ledger.KindClose:
		r.pending = append(r.pending, effect{index + 1, func(r *Replay) { r.closed = index + 1 }})
	case o.Action == ledger.KindResume && nv != nil:
		facts := *nv
		r.pending = append(r.pending, effect{index + 1, func(r *Replay) { r.resume(index, facts, o.PCR) }})
	}
}

// resume goes on from where the TPM stood when administrators said so.
func (r *Replay) resume(index uint64, nv quote.NVFacts, pcr [32]byte) {
	what := "the PCR was not as the log leads to, and nothing of the log is lost"
	if nv.Contents != r.head {
		what = fmt.Sprintf("HEAD was not where the commits up to size %d lead: what it took behind them is not in this log", r.committed)
	}
	r.problems = append(r.problems, Problem{Code: CodeResumed, Warning: true, Resume: index,
		Text: fmt.Sprintf("administrators led the board out of a halt state with entry %d: %s", index, what)})
	if r.witness != nil {
		r.witness.bounded = true // no clock behind this can be compared with one before
	}
	r.clock, r.clocked = nv.Clock, true // whatever they were: the TPM may be in another state, that is what was ordered about
	r.head, r.pcr, r.pcrLost = nv.Contents, pcr, false
}

// Attest folds an attest entry: x is that of the checkpoint body of a.Size;
// nv and q are what the attestations say, nil when they did not verify or are
// not there.
func (r *Replay) Attest(a *ledger.Attest, x [32]byte, nv *quote.NVFacts, q *quote.QuoteFacts) []Problem {
	if a.Size < r.committed {
		r.add(CodeOrder, "attests the commit of size %d after that of size %d", a.Size, r.committed)
		return r.take()
	}
	r.commit(a.Size, x)
	r.checkHead(nv, a.Size)
	if q != nil || nv != nil && !r.movedOn(nv.Clock) {
		for _, c := range clocks(nv, q) {
			r.tick(c, false)
		}
	}
	r.checkPCR(q, a.Size)
	if q != nil {
		r.alone = [32]byte{}
	}
	return r.take()
}

// movedOn reports whether the TPM was, or may have been, reset or restarted
// since the last attestation. An attest entry without a quote may be such a one: recovery
// makes it good before the boot entry, which then accounts for the reset.
func (r *Replay) movedOn(c quote.Clock) bool {
	resets := int32(c.ResetCount - r.clock.ResetCount)
	restarts := int32(c.RestartCount - r.clock.RestartCount)
	return !r.clocked || resets > 0 || resets == 0 && restarts > 0
}

// Boot folds a boot entry; arguments as for Attest.
func (r *Replay) Boot(b *ledger.Boot, x [32]byte, nv *quote.NVFacts, q *quote.QuoteFacts) []Problem {
	r.boots++
	if b.Number != r.boots {
		r.add(CodeBootNumber, "boot entry number %d, want %d", b.Number, r.boots)
		r.boots = b.Number
	}
	if b.Committed < r.committed {
		r.add(CodeOrder, "boots with HEAD at size %d after the commit of size %d", b.Committed, r.committed)
		return r.take()
	}
	r.commit(b.Committed, x)
	if b.Head != r.head {
		r.add(CodeHead, "HEAD at boot is not the replay of the commits up to size %d", b.Committed)
		r.head = b.Head
	}
	r.checkHead(nv, b.Committed)
	r.bootPCR(b, nv)
	for _, c := range clocks(nv, q) {
		r.tick(c, true)
	}
	r.pcr, r.pcrLost, r.alone = b.PCR, false, [32]byte{}
	r.checkPCR(q, b.Committed)
	return r.take()
}

// Checkpoint folds the published checkpoint, at the point of the log where
// Size leaves were folded.
func (r *Replay) Checkpoint(c *Checkpoint) []Problem {
	if c.Size < r.committed {
		r.add(CodeOrder, "the checkpoint of size %d is older than a commit of size %d inside it", c.Size, r.committed)
		return r.take()
	}
	r.commit(c.Size, c.X)
	r.checkHead(&c.Facts, c.Size)
	return r.take()
}

func (r *Replay) commit(size uint64, x [32]byte) {
	if size <= r.committed {
		return
	}
	if r.closed > 0 {
		r.add(CodeClosed, "a commit of %d entries follows the one of %d that closed the log", size, r.closed)
	}
	for len(r.pending) > 0 && r.pending[0].size <= size {
		if e := r.pending[0]; e.size == size {
			e.do(r)
		}
		r.pending = r.pending[1:]
	}
	r.committed, r.head, r.pcr = size, Extend(r.head, x), Extend(r.pcr, x)
	r.alone = Extend([32]byte{}, x)
}

// checkHead goes on from the certified value after a mismatch, so that one
// break gives one problem.
func (r *Replay) checkHead(nv *quote.NVFacts, size uint64) {
	if nv != nil && nv.Contents != r.head {
		r.add(CodeHead, "the TPM certifies a HEAD that is not the replay of the commits up to size %d", size)
		r.head = nv.Contents
	}
}

func (r *Replay) checkPCR(q *quote.QuoteFacts, size uint64) {
	switch {
	case q == nil:
	case r.pcrLost:
		r.info(CodePCRUnknown, "the PCR at size %d cannot be checked after an earlier mismatch", size)
	case q.PCRDigest != quote.PCRDigest(r.pcr):
		r.add(CodePCR, "the TPM quotes a PCR that is not the replay of the commits since the last reset, at size %d", size)
		r.pcrLost = true
	}
}

// bootPCR checks the PCR a boot entry begins with: unchanged counters mean an
// unchanged PCR, a reset means zero, a restart may be either (TPM 2.0 part 1,
// section 10.2: a resume keeps it). Without an earlier attestation both will
// do. A reset that came inside the newest commit, before its quote, leaves that
// commit in the PCR and nothing else.
func (r *Replay) bootPCR(b *ledger.Boot, nv *quote.NVFacts) {
	if nv == nil {
		return
	}
	reset := r.clocked && nv.Clock.ResetCount != r.clock.ResetCount
	mayClear := !r.clocked || reset || nv.Clock.RestartCount != r.clock.RestartCount
	switch {
	case mayClear && (b.PCR == [32]byte{} || b.PCR == r.alone):
	case reset:
		r.add(CodePCR, "the TPM was reset, but the PCR at boot is neither zero nor what the newest commit made of that")
	case r.pcrLost:
		r.info(CodePCRUnknown, "the PCR at boot %d cannot be compared after an earlier mismatch", b.Number)
	case b.PCR != r.pcr:
		r.add(CodePCR, "the PCR at boot is not the replay of the commits, and the TPM was not reset")
	}
}

func clocks(nv *quote.NVFacts, q *quote.QuoteFacts) (c []quote.Clock) {
	if nv != nil {
		c = append(c, nv.Clock)
	}
	if q != nil {
		c = append(c, q.Clock)
	}
	return c
}

// tick follows the TPM's counters and clock. The AK's hierarchy hides the
// counters behind a constant offset, so only differences mod 2^32 mean
// anything (TPM 2.0 part 1, section 36.7).
func (r *Replay) tick(c quote.Clock, boot bool) {
	last, had := r.clock, r.clocked
	r.clock, r.clocked = c, true
	if !had {
		return
	}
	resets := int32(c.ResetCount - last.ResetCount)
	restarts := int32(c.RestartCount - last.RestartCount)
	switch {
	case resets < 0 || resets == 0 && restarts < 0:
		r.add(CodeCounter, "the TPM's reset counters went back by %d and %d", -resets, -restarts)
	case (resets != 0 || restarts != 0) && !boot:
		r.add(CodeReset, "the TPM was reset or restarted since the previous attestation, but no boot entry says so")
	case resets > 1:
		r.info(CodeResets, "the TPM was reset %d times since the previous attestation", resets)
	case resets == 0 && restarts == 0 && c.Safe && c.Millis < last.Millis:
		r.add(CodeClock, "the TPM's clock went back by %d ms without a reset", last.Millis-c.Millis)
	}
}

func (r *Replay) add(code, format string, a ...any) {
	r.problems = append(r.problems, Problem{Code: code, Text: fmt.Sprintf(format, a...)})
}

func (r *Replay) info(code, format string, a ...any) {
	r.problems = append(r.problems, Problem{Code: code, Text: fmt.Sprintf(format, a...), Info: true})
}

func (r *Replay) take() []Problem {
	if r.witness != nil {
		r.witness.look(r)
	}
	p := r.problems
	r.problems = nil
	return p
}
