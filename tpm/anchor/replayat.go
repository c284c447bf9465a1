package anchor

import (
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// ReplayAt is the replay of a log that was replayed before up to a boot entry:
// that entry comes next, and its own statements are believed.
func ReplayAt(b *ledger.Boot) Replay {
	return Replay{committed: b.Committed, head: b.Head, pcr: b.PCR, boots: b.Number - 1}
}

// Answer compares with the end of the log what the TPM says of itself now: HEAD
// and PCR as the log leaves them, or a PCR that a reset since then cleared.
func (r *Replay) Answer(nv quote.NVFacts, q quote.QuoteFacts) []Problem {
	if nv.Contents != r.head {
		r.add(CodeHead, "HEAD is not where the newest commit of this log, of size %d, left it: it took something that is not in this copy", r.committed)
	}
	reset := !r.clocked || nv.Clock.ResetCount != r.clock.ResetCount || nv.Clock.RestartCount != r.clock.RestartCount
	for _, c := range clocks(&nv, &q) {
		r.tick(c, true)
	}
	if !reset || q.PCRDigest != quote.PCRDigest([32]byte{}) {
		r.checkPCR(&q, r.committed)
	}
	return r.take()
}
