package audit

import (
	"fmt"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// elsewhere compares the log with proofs and checkpoints from elsewhere.
func (a *auditor) elsewhere() {
	for i, p := range a.in.Proofs {
		if _, _, err := a.in.Trust.VerifyProof(p); err != nil {
			a.say(finding.Warning, finding.Proof, nil, "proof %d: %v", i+1, err)
			continue
		}
		a.compare(p.Checkpoint, finding.Proof, fmt.Sprintf("a proof of intent %d", p.Index))
	}
	for i, msg := range a.in.Previous {
		a.compare(msg, finding.OldInvalid, fmt.Sprintf("earlier checkpoint %d", i+1))
	}
	a.answer()
}

func (a *auditor) compare(msg []byte, invalid, what string) {
	cp, err := a.open(msg)
	if err != nil {
		a.say(finding.Warning, invalid, nil, "%s: %v", what, err)
		return
	}
	w := a.log.Watched(cp.Size)
	switch {
	case cp.Size <= a.log.Start():
		return // proven when the audit began behind it
	case !w.Reached:
		a.evidence(finding.RolledBack, nil, "%s was committed at size %d, this log ends at %d: it was rolled back", what, cp.Size, a.log.Size())
	case cp.Size <= a.log.Newest() && !w.Committed:
		a.evidence(finding.Forked, nil, "%s was committed at size %d, which this log passed without committing it", what, cp.Size)
	case !a.had(w, cp.Root):
		a.evidence(finding.Forked, nil, "%s was committed at size %d with another history", what, cp.Size)
	}
}

// had reports whether the log had this root at a size. Over leaf hashes that are
// others than the entries' it counts only where the entries are not what the
// checkpoint is over: nobody altered them then, and the commit was another.
func (a *auditor) had(w history.Watched, root [32]byte) bool {
	return root == w.Own || root == w.Claimed && !a.overEntries
}

// Dialogue is a challenge of the auditor's and what the board answered.
type Dialogue struct {
	Challenge *challenge.Challenge
	Answer    *challenge.Answer
}

// asked verifies the answer to the challenge, if there is one, and has its
// place looked for while entries are folded.
func (a *auditor) asked() {
	d := a.in.Dialogue
	if d == nil {
		return
	}
	tag := quote.ChallengeTag(d.Challenge.Nonce)
	if a.unmet = d.Challenge.Check(d.Answer, nil); a.unmet != nil {
		return
	}
	nv, err := a.ak.VerifyNV(d.Answer.Certify, a.in.Trust.HeadName, tag)
	if err != nil {
		a.unmet = fmt.Errorf("NV_Certify: %w", err)
		return
	}
	q, err := a.ak.VerifyQuote(d.Answer.Quote, a.in.Trust.PCR, tag)
	if err != nil {
		a.unmet = fmt.Errorf("quote: %w", err)
		return
	}
	a.fold.Watch(nv, q)
}

// answer judges freshness: by what the TPM said over the auditor's nonce, if
// it was asked.
func (a *auditor) answer() {
	d := a.in.Dialogue
	switch {
	case d == nil:
		a.say(finding.Info, finding.Freshness, nil, "nothing here proves that this is the newest state of the log: a complete older copy looks the same")
		return
	case a.unmet != nil:
		a.evidence(finding.Answer, nil, "the answer to the challenge: %v", a.unmet)
		return
	}
	size, consistent := a.answered(d.Answer.Checkpoint)
	newest := a.log.Newest()
	place, good := a.fold.Answer(size > newest, a.log.Size(), a.mayBeCommitted())
	at := canon.Time(d.Challenge.Time)
	switch {
	case place.Early:
		a.say(finding.Warning, finding.Unplaced, nil, "the TPM answered before the boot entry at which this audit began: audit without --since")
	case place.Size > 0 && place.Size < size:
		a.evidence(anchor.CodeHead, []uint64{a.log.Size() - 1}, "the TPM answered with HEAD at size %d, and its checkpoint says that it had taken size %d", place.Size, size)
	case place.Size == 0 && size > newest:
		a.say(finding.Warning, finding.Unplaced, nil, "the TPM answered at size %d, this copy knows of no commit behind size %d: the copy is older than the answer, get a newer one", size, newest)
	case !good || !consistent:
	case place.Open:
		a.say(finding.Info, finding.FreshAt, nil, "the TPM stood at size %d of this log after %s: HEAD had taken that commit, which the log does not tell yet", place.Size, at)
	case place.Size < newest:
		a.say(finding.Info, finding.FreshAt, nil, "the TPM stood at size %d of this log after %s; the log went on since, to size %d", place.Size, at, newest)
	default:
		a.say(finding.Info, finding.FreshAt, nil, "the TPM stood at the end of this log after %s", at)
	}
}

// mayBeCommitted are the commits that the entries behind the newest one may end: the
// board may have made one of them before it answered, and this copy not have its
// word for it.
func (a *auditor) mayBeCommitted() (list []anchor.Commit) {
	for n := a.log.Newest() + 1; n <= a.log.Size(); n++ {
		if p, ok := a.log.At(n); ok && !a.log.Mid(n) {
			list = append(list, anchor.Commit{Size: n, X: ledger.X(ledger.CheckpointBody(a.in.Trust.Origin, n, p.Own))})
		}
	}
	return list
}

// answered compares the answer's checkpoint with the log: its size, 0 if it
// does not open, and whether it is of this log as far as can be told.
func (a *auditor) answered(msg []byte) (size uint64, consistent bool) {
	cp, err := a.open(msg)
	if err != nil {
		a.say(finding.Warning, finding.Answer, nil, "the answer to the challenge: %v", err)
		return 0, true
	}
	w := a.log.Watched(cp.Size)
	switch {
	case cp.Size <= a.log.Start(): // proven when the audit began behind it
	case w.Reached && !a.had(w, cp.Root):
		a.evidence(finding.Forked, nil, "the answer to the challenge has a checkpoint of size %d with another history", cp.Size)
		return cp.Size, false
	case w.Reached && cp.Size <= a.log.Newest() && !w.Committed:
		a.evidence(finding.Forked, nil, "the answer to the challenge has a checkpoint of size %d, which this log passed without committing it", cp.Size)
		return cp.Size, false
	}
	return cp.Size, true
}
