package station

import (
	"errors"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/station/chain"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/quote"
)

// The ration of auditors' challenges. Each costs the TPM two signatures, so it
// gets as much of the TPM as hellos in the long run.
const (
	challengeBurst = 4
	challengeEvery = 20 * time.Second
)

// challenges is what the board owes auditors: one answer at most.
type challenges struct {
	ration    intake.Ration
	waiting   *asked // the newest that is not answered yet
	timed     bool   // a timer will take it up
	attesting bool   // the TPM is at work for one
}

// asked is a challenge of the present session.
type asked struct {
	*challenge.Challenge
	id      message.JobID
	session uint64
}

// challenged takes an auditor's challenge that the host brought.
func (s *Station) challenged(text []byte) {
	a := &asked{id: message.ChallengeID(text), session: s.link.session}
	var err error
	switch a.Challenge, err = challenge.Parse(text); {
	case err != nil:
		s.refuse(a.id, message.CodeBadMessage, "this is no challenge: "+err.Error())
		return
	case a.Origin != s.past.Trust.Origin:
		s.refuse(a.id, message.CodeWrongOrigin, "the challenge is for "+a.Origin)
		return
	case a.Credential != nil:
		s.refuse(a.id, message.CodeBadMessage, "only a board that does not run activates a credential ('touchmark-appliance answer')")
		return
	}
	if old := s.challenges.waiting; old != nil && old.session == a.session {
		s.refuse(old.id, message.CodeBusy, "a newer challenge came while this one waited")
	}
	s.challenges.waiting = a
	s.answerChallenge()
}

// answerChallenge has the TPM answer the challenge that waits, when nothing is
// under way that moves HEAD and the ration allows it.
func (s *Station) answerChallenge() {
	c := &s.challenges
	a := c.waiting
	switch {
	case a == nil || c.attesting || !s.settled():
		return
	case a.session != s.link.session:
		c.waiting = nil
		return
	}
	if wait := c.ration.Take(time.Now()); wait > 0 {
		if !c.timed {
			c.timed = true
			s.after(wait, func() { c.timed = false; s.answerChallenge() })
		}
		return
	}
	c.waiting, c.attesting = nil, true
	s.tpm.Do(func() func() {
		answer, err := s.attestFor(a)
		return func() {
			c.attesting = false
			if s.link.session == a.session {
				s.sendAnswer(a, answer, err)
			}
			s.answerChallenge()
		}
	})
}

// settled reports that HEAD is where the newest checkpoint has it, as far as a
// board that halted can know.
func (s *Station) settled() bool {
	ready := s.halted != nil || s.clock.Confirmed() && !s.starting
	return ready && !s.committing() && (s.job == nil || s.job.machine.Phase() == ceremony.Shown)
}

// attestFor makes both attestations over the auditor's nonce. What they say is for
// the auditor to judge. The TPM's worker calls it.
func (s *Station) attestFor(a *asked) (*challenge.Answer, error) {
	tag := quote.ChallengeTag(a.Nonce)
	certify, err := s.cfg.TPM.CertifyHead(tag)
	if err != nil {
		return nil, err
	}
	q, err := s.cfg.TPM.QuotePCR(tag)
	return &challenge.Answer{Origin: a.Origin, Nonce: a.Nonce, Certify: certify, Quote: q}, err
}

// answerSettled keeps a halted board from answering with a HEAD that its checkpoint
// does not tell of, which would look like tampering.
func (s *Station) answerSettled(a *challenge.Answer) error {
	if s.past.AK == nil {
		return nil
	}
	facts, err := s.past.AK.VerifyNV(a.Certify, s.past.Trust.HeadName, quote.ChallengeTag(a.Nonce))
	if err != nil {
		return nil // another TPM's: for the auditor to judge
	}
	return chain.Settled(s.cfg.Store, s.past.Attest, facts.Contents)
}

func (s *Station) sendAnswer(a *asked, answer *challenge.Answer, err error) {
	var text []byte
	if err == nil {
		err = s.answerSettled(answer)
	}
	if errors.Is(err, chain.ErrUnsettled) {
		s.refuse(a.id, message.CodeBusy, err.Error())
		return
	}
	if err == nil {
		answer.Checkpoint = s.chain.Checkpoint
		text, err = answer.Marshal()
	}
	if err != nil {
		s.log.Error().Err(err).Msg("answering a challenge")
		s.refuse(a.id, message.CodeInternal, "the board cannot answer: "+err.Error())
		return
	}
	m := message.Answer{Text: text}
	s.send(chanInteractive, m.Marshal())
}
