// Package challenges carries an auditor's challenge to the board, and the board's answer back.
package challenges

import (
	"github.com/rs/zerolog"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/quote"
)

// Courier has one challenge at a time. It belongs to the loop.
type Courier struct {
	Loop   *loop.Loop
	Board  *conversation.Board
	Mirror *mirror.Mirror
	Log    zerolog.Logger

	asked *asked // nil if the board has none
}

// asked is an auditor's challenge that the appliance has. Its answer is carried
// to the auditor, who judges it; here it need only be one: anybody on the cable
// can say something else.
type asked struct {
	id    message.JobID // as a refusal names it
	text  *challenge.Challenge
	final chan *api.Response // capacity 1, sent once
}

// Ask hands the appliance an auditor's challenge. The board keeps the
// newest only, so this host does too. The answer comes through the channel.
func (c *Courier) Ask(text []byte) <-chan *api.Response {
	a := &asked{id: message.ChallengeID(text), final: make(chan *api.Response, 1)}
	if resp := c.unasked(a, text); resp != nil {
		a.final <- resp
		return a.final
	}
	c.answered(api.Fail(api.DeviceFault, "another challenge came in between: ask again"))
	c.asked = a
	c.Board.Send((&message.Challenge{Text: text}).Marshal())
	c.Loop.After(c.Loop.Waits.AnswerWait, func() {
		if c.asked == a {
			c.answered(api.Fail(api.DeviceFault, "the appliance did not answer the challenge within %s: it may be busy, ask again", c.Loop.Waits.AnswerWait))
		}
	})
	return a.final
}

// unasked says why the appliance is not asked, nil if it can be.
func (c *Courier) unasked(a *asked, text []byte) (resp *api.Response) {
	var err error
	switch a.text, err = challenge.Parse(text); {
	case err != nil:
		return api.Fail(api.BadInput, "this is no challenge: %v", err)
	case a.text.Origin != c.Mirror.Pinned().Origin:
		return api.Fail(api.BadInput, "the challenge is for %s, this host's appliance keeps %s", a.text.Origin, c.Mirror.Pinned().Origin)
	case a.text.Credential != nil:
		return api.Fail(api.BadInput, "the challenge has a credential, which only a stopped board activates: carry it there (touchmark-appliance answer), or make one without")
	case !c.Board.Listens():
		return api.Fail(api.LinkDown, "no conversation with the appliance: %s", c.Board.State())
	}
	return nil
}

// Over ends a challenge whose session did.
func (c *Courier) Over() {
	c.answered(api.Fail(api.LinkDown, "the link went down before the appliance answered the challenge: ask again"))
}

// answered ends the challenge under way.
func (c *Courier) answered(resp *api.Response) {
	if c.asked != nil {
		c.asked.final <- resp
		c.asked = nil
	}
}

// Answer takes an answer of the board. One that is not of this TPM or to another
// challenge may come from the cable: the true one is waited for.
func (c *Courier) Answer(m *message.Answer) {
	a := c.asked
	if a == nil {
		return
	}
	got, err := challenge.ParseAnswer(m.Text)
	if err == nil {
		err = a.text.Check(got, nil)
	}
	if err == nil {
		_, err = c.Mirror.Pinned().AttestKey.VerifyNV(got.Certify, c.Mirror.Pinned().HeadName, quote.ChallengeTag(got.Nonce))
	}
	if err != nil {
		c.Log.Warn().Err(err).Msg("an answer that is none")
		return
	}
	c.answered(&api.Response{Final: true, OK: true, Answer: m.Text})
}

// Refused takes the board's word that it does not answer; it reports
// whether the refusal is about a challenge.
func (c *Courier) Refused(m *message.Refused) bool {
	a := c.asked
	if a == nil || m.Job != a.id {
		return false
	}
	c.answered(api.Fail(api.CodeFor(m.Code), "the appliance refuses the challenge (%s): %s", m.Code, m.Text))
	return true
}
