package anchor

import (
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// ReplayAt is the replay of a log that was replayed before up to a boot entry:
// that entry comes next, and its own statements are believed.
func ReplayAt(b *ledger.Boot) Replay {
	return Replay{committed: b.Committed, head: b.Head, pcr: b.PCR, boots: b.Number - 1, partial: true}
}

// witness is what the TPM said over an auditor's nonce, and its place in the
// log: a board answers once, and its log goes on.
type witness struct {
	nv      quote.NVFacts
	quote   quote.QuoteFacts
	place   *Replay     // as it was where the TPM spoke, nil as long as HEAD was not there
	early   bool        // the TPM spoke before the replay began
	bounded bool        // what came behind the place was looked at
	late    bool        // and the TPM had said that before it answered
	last    quote.Clock // counted last before the present entry
	clocked bool
}

// Place is where in the log a TPM answered.
type Place struct {
	Size  uint64 // the commit at which HEAD stood, 0 if at none of this log
	Early bool   // the TPM spoke before the replay began, which cannot be compared
	Open  bool   // the log does not say yet that HEAD took that commit
}

// Commit is one that HEAD may have taken, though the log does not say so yet.
type Commit struct {
	Size uint64
	X    [32]byte
}

// Watch has the replay look for the place of an answer. Call it before any
// entry is folded.
func (r *Replay) Watch(nv quote.NVFacts, q quote.QuoteFacts) {
	r.witness = &witness{nv: nv, quote: q}
}

// look compares the answer's place with an entry that was just folded: its
// place is behind the newest statement that is not after it, of those with its
// HEAD.
func (w *witness) look(r *Replay) {
	after := r.clocked && later(r.clock, w.nv.Clock)
	counted := r.clocked && (!w.clocked || r.clock != w.last)
	switch {
	case r.partial && !w.clocked && after:
		w.early = true
	case r.committed > 0 && r.head == w.nv.Contents:
		if w.place == nil || !after {
			at := *r
			w.place = &at
		}
		if w.place.clocked && later(w.place.clock, w.nv.Clock) {
			w.place.clock, w.place.clocked = w.last, w.clocked // it came between the commit and its attest entry
		}
	case w.place != nil && !w.bounded && counted:
		w.bounded, w.late = true, later(w.nv.Clock, r.clock)
	}
	w.last, w.clocked = r.clock, r.clocked
}

// later reports whether a TPM said a after b, by counters and clock.
func later(a, b quote.Clock) bool {
	if d := int32(a.ResetCount - b.ResetCount); d != 0 {
		return d > 0
	}
	if d := int32(a.RestartCount - b.RestartCount); d != 0 {
		return d > 0
	}
	return a.Safe && b.Safe && a.Millis > b.Millis
}

// Answer judges the answer that Watch was told, all entries being folded: at
// its place HEAD and PCR are as the log left them, or the PCR as a reset since
// then did, and counters and clock are between those of its neighbours. next are
// the commits that the log's end leads to: the board may have made one of them
// when it answered. An answer without a place is compared with the end of the log; if it
// is known to be newer than that, only by counters and clock.
func (r *Replay) Answer(newer bool, next []Commit) (Place, []Problem) {
	w := r.witness
	r.witness = nil
	switch {
	case w.early:
		return Place{Early: true}, nil
	case w.place == nil:
		if at := r.after(next, w.nv.Contents); at != nil {
			at.judge(w, false)
			return Place{Size: at.committed, Open: true}, at.take()
		}
		at := *r
		at.judge(w, newer)
		return Place{}, at.take()
	}
	at := *w.place
	at.judge(w, false)
	if w.late {
		at.add(CodeClock, "the TPM said before it answered that HEAD had gone on from size %d, and answers that it had not", at.committed)
	}
	return Place{Size: at.committed}, at.take()
}

// after is the replay behind the one of these commits that leads HEAD to its
// contents, nil if none does.
func (r *Replay) after(next []Commit, contents [32]byte) *Replay {
	for _, c := range next {
		at := *r
		at.commit(c.Size, c.X)
		at.problems = nil // they are told when the log says so
		if c.Size > r.committed && at.head == contents {
			return &at
		}
	}
	return nil
}

func (r *Replay) judge(w *witness, newer bool) {
	r.witness = nil
	if w.nv.Contents != r.head && !newer {
		r.add(CodeHead, "HEAD is not where the newest commit of this log, of size %d, left it: it took something that is not in this copy", r.committed)
	}
	reset := !r.clocked || w.nv.Clock.ResetCount != r.clock.ResetCount || w.nv.Clock.RestartCount != r.clock.RestartCount
	for _, c := range clocks(&w.nv, &w.quote) {
		r.tick(c, true)
	}
	d := w.quote.PCRDigest
	cleared := reset && (d == quote.PCRDigest([32]byte{}) || d == quote.PCRDigest(r.alone))
	if !cleared && !newer {
		r.checkPCR(&w.quote, r.committed)
	}
}
