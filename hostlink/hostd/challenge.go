package hostd

import (
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/quote"
)

// asked is an auditor's challenge that the appliance has. Its answer is carried
// to the auditor, who judges it; here it need only be one: anybody on the cable
// can say something else.
type asked struct {
	id    message.JobID // as a refusal names it
	text  *challenge.Challenge
	final chan *api.Response // capacity 1, sent once
}

// challenge hands the appliance an auditor's challenge. The board keeps the
// newest only, so this host does too. The answer comes through the channel.
func (d *Daemon) challenge(text []byte) <-chan *api.Response {
	a := &asked{id: message.ChallengeID(text), final: make(chan *api.Response, 1)}
	if resp := d.unasked(a, text); resp != nil {
		a.final <- resp
		return a.final
	}
	d.answered(api.Fail(api.DeviceFault, "another challenge came in between: ask again"))
	d.conv.asked = a
	d.send((&message.Challenge{Text: text}).Marshal())
	d.loop.After(d.loop.Waits.AnswerWait, func() {
		if c := d.conv; c != nil && c.asked == a {
			d.answered(api.Fail(api.DeviceFault, "the appliance did not answer the challenge within %s: it may be busy, ask again", d.loop.Waits.AnswerWait))
		}
	})
	return a.final
}

// unasked says why the appliance is not asked, nil if it can be.
func (d *Daemon) unasked(a *asked, text []byte) (resp *api.Response) {
	var err error
	switch a.text, err = challenge.Parse(text); {
	case err != nil:
		return api.Fail(api.BadInput, "this is no challenge: %v", err)
	case a.text.Origin != d.mirror.Pinned().Origin:
		return api.Fail(api.BadInput, "the challenge is for %s, this host's appliance keeps %s", a.text.Origin, d.mirror.Pinned().Origin)
	case a.text.Credential != nil:
		return api.Fail(api.BadInput, "the challenge has a credential, which only a stopped board activates: carry it there (touchmark-appliance answer), or make one without")
	case d.conv == nil || !d.conv.ready && !d.conv.halted:
		return api.Fail(api.LinkDown, "no conversation with the appliance: %s", d.linkState())
	}
	return nil
}

// answered ends the challenge under way.
func (d *Daemon) answered(resp *api.Response) {
	if c := d.conv; c != nil && c.asked != nil {
		c.asked.final <- resp
		c.asked = nil
	}
}

// boardAnswers takes an answer of the board. One that is not of this TPM or to another
// challenge may come from the cable: the true one is waited for.
func (d *Daemon) boardAnswers(m *message.Answer) {
	a := d.conv.asked
	if a == nil {
		return
	}
	got, err := challenge.ParseAnswer(m.Text)
	if err == nil {
		err = a.text.Check(got, nil)
	}
	if err == nil {
		_, err = d.mirror.Pinned().AttestKey.VerifyNV(got.Certify, d.mirror.Pinned().HeadName, quote.ChallengeTag(got.Nonce))
	}
	if err != nil {
		d.log.Warn().Err(err).Msg("an answer that is none")
		return
	}
	d.answered(&api.Response{Final: true, OK: true, Answer: m.Text})
}

// refusedChallenge takes the board's word that it does not answer; it reports
// whether the refusal is about a challenge.
func (d *Daemon) refusedChallenge(m *message.Refused) bool {
	a := d.conv.asked
	if a == nil || m.Job != a.id {
		return false
	}
	d.answered(api.Fail(api.CodeFor(m.Code), "the appliance refuses the challenge (%s): %s", m.Code, m.Text))
	return true
}

// serveChallenge waits for the board's answer, or for the client to go away.
func (d *Daemon) serveChallenge(req *api.Request, say func(*api.Response) error) {
	var final <-chan *api.Response
	if !d.loop.Do(func() { final = d.challenge(req.Text) }) {
		return
	}
	select {
	case r := <-final:
		_ = say(r)
	case <-d.loop.Done():
	}
}
