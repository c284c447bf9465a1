// Package challenges answers auditors' challenges to a running board: one at a
// time, as the TPM has time for them (docs/spec/audit.md section 6).
package challenges

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/line"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/quote"
)

// The ration of challenges. Each costs the TPM two signatures, so it gets as much
// of the TPM as hellos in the long run.
const (
	Burst = 4
	Every = 20 * time.Second
)

// Config is what a desk is made of. Its functions are called in the loop.
type Config struct {
	Loop    loop.Loop
	Line    *line.Line
	TPM     chain.TPM
	Work    *loop.Worker // of the TPM
	Chain   *chain.Chain
	Store   past.Log
	Log     zerolog.Logger
	Settled func() bool // HEAD is where the newest checkpoint has it, as far as a board that halted can know
	Refuse  func(id message.JobID, code, text string)
}

// Desk is what the board owes auditors: one answer at most.
type Desk struct {
	cfg       Config
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

// New makes a desk that owes nothing.
func New(cfg Config) *Desk {
	return &Desk{cfg: cfg, ration: intake.NewRation(Burst, Every, time.Now())}
}

// Take takes an auditor's challenge that the host brought.
func (d *Desk) Take(text []byte) {
	a := &asked{id: message.ChallengeID(text), session: d.cfg.Line.Session()}
	var err error
	switch a.Challenge, err = challenge.Parse(text); {
	case err != nil:
		d.cfg.Refuse(a.id, message.CodeBadMessage, "this is no challenge: "+err.Error())
		return
	case a.Origin != d.cfg.Chain.Past.Trust.Origin:
		d.cfg.Refuse(a.id, message.CodeWrongOrigin, "the challenge is for "+a.Origin)
		return
	case a.Credential != nil:
		d.cfg.Refuse(a.id, message.CodeBadMessage, "only a board that does not run activates a credential ('touchmark-appliance answer')")
		return
	}
	if old := d.waiting; old != nil && old.session == a.session {
		d.cfg.Refuse(old.id, message.CodeBusy, "a newer challenge came while this one waited")
	}
	d.waiting = a
	d.Answer()
}

// Answer has the TPM answer the challenge that waits, if there is one, nothing is
// under way that moves HEAD and the ration allows it. It is to be called when
// something of that may have changed.
func (d *Desk) Answer() {
	a := d.waiting
	switch {
	case a == nil || d.attesting || !d.cfg.Settled():
		return
	case a.session != d.cfg.Line.Session():
		d.waiting = nil
		return
	}
	if wait := d.ration.Take(time.Now()); wait > 0 {
		if !d.timed {
			d.timed = true
			d.cfg.Loop.After(wait, func() { d.timed = false; d.Answer() })
		}
		return
	}
	d.waiting, d.attesting = nil, true
	d.cfg.Work.Do(func() func() {
		answer, err := d.attest(a)
		return func() {
			d.attesting = false
			if d.cfg.Line.Session() == a.session {
				d.send(a, answer, err)
			}
			d.Answer()
		}
	})
}

// attest makes both attestations over the auditor's nonce. What they say is for
// the auditor to judge. The TPM's worker calls it.
func (d *Desk) attest(a *asked) (*challenge.Answer, error) {
	tag := quote.ChallengeTag(a.Nonce)
	certify, err := d.cfg.TPM.CertifyHead(tag)
	if err != nil {
		return nil, err
	}
	q, err := d.cfg.TPM.QuotePCR(tag)
	return &challenge.Answer{Origin: a.Origin, Nonce: a.Nonce, Certify: certify, Quote: q}, err
}

// settled keeps a halted board from answering with a HEAD that its checkpoint does
// not tell of, which would look like tampering.
func (d *Desk) settled(a *challenge.Answer) error {
	p := d.cfg.Chain.Past
	if p.AK == nil {
		return nil
	}
	facts, err := p.AK.VerifyNV(a.Certify, p.Trust.HeadName, quote.ChallengeTag(a.Nonce))
	if err != nil {
		return nil // another TPM's: for the auditor to judge
	}
	return chain.Settled(d.cfg.Store, p.Attest, facts.Contents)
}

func (d *Desk) send(a *asked, answer *challenge.Answer, err error) {
	var text []byte
	if err == nil {
		err = d.settled(answer)
	}
	if errors.Is(err, chain.ErrUnsettled) {
		d.cfg.Refuse(a.id, message.CodeBusy, err.Error())
		return
	}
	if err == nil {
		answer.Checkpoint = d.cfg.Chain.Checkpoint
		text, err = answer.Marshal()
	}
	if err != nil {
		d.cfg.Log.Error().Err(err).Msg("answering a challenge")
		d.cfg.Refuse(a.id, message.CodeInternal, "the board cannot answer: "+err.Error())
		return
	}
	m := message.Answer{Text: text}
	d.cfg.Line.Send(m.Marshal())
}
