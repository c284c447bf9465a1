package audit

import (
	"fmt"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/audit/finding"
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
	case !w.Reached:
		a.evidence(finding.RolledBack, nil, "%s was committed at size %d, this log ends at %d: it was rolled back", what, cp.Size, a.log.Size())
	case cp.Size <= a.log.Newest() && !w.Committed:
		a.evidence(finding.Forked, nil, "%s was committed at size %d, which this log passed without committing it", what, cp.Size)
	case !w.Is(cp.Root):
		a.evidence(finding.Forked, nil, "%s was committed at size %d with another history", what, cp.Size)
	}
}

// Dialogue is a challenge of the auditor's and what the board answered.
type Dialogue struct {
	Challenge *challenge.Challenge
	Answer    *challenge.Answer
}

// answer judges freshness: by what the TPM said over the auditor's nonce, if
// it was asked.
func (a *auditor) answer() {
	d := a.in.Dialogue
	if d == nil {
		a.say(finding.Info, finding.Freshness, nil, "nothing here proves that this is the newest state of the log: a complete older copy looks the same")
		return
	}
	if err := a.fresh(d); err != nil {
		a.evidence(finding.Answer, nil, "the answer to the challenge: %v", err)
	}
}

func (a *auditor) fresh(d *Dialogue) error {
	if err := d.Challenge.Check(d.Answer, nil); err != nil {
		return err
	}
	tag := quote.ChallengeTag(d.Challenge.Nonce)
	nv, err := a.ak.VerifyNV(d.Answer.Certify, a.in.Trust.HeadName, tag)
	if err != nil {
		return fmt.Errorf("NV_Certify: %w", err)
	}
	q, err := a.ak.VerifyQuote(d.Answer.Quote, a.in.Trust.PCR, tag)
	if err != nil {
		return fmt.Errorf("quote: %w", err)
	}
	a.compare(d.Answer.Checkpoint, finding.Answer, "the answer to the challenge")
	if a.fold.Answer(nv, q, a.log.Size()) {
		a.say(finding.Info, finding.FreshAt, nil, "the TPM stood at the end of this log after %s", canon.Time(d.Challenge.Time))
	}
	return nil
}
