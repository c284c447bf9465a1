package audit

import (
	"fmt"
	"slices"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/quote"
)

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
		a.fold.say(finding.Of(finding.Info, finding.Freshness, "nothing here proves that this is the newest state of the log: a complete older copy looks the same", nil))
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
	problems := a.fold.replay.Answer(nv, q)
	a.fold.problems(problems, a.log.Size()-1)
	if slices.ContainsFunc(problems, func(p anchor.Problem) bool { return !p.Info }) {
		return nil
	}
	a.fold.say(finding.Of(finding.Info, finding.FreshAt, fmt.Sprintf("the TPM stood at the end of this log after %s", clock(d.Challenge.Time)), nil))
	return nil
}
