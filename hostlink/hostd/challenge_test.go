package hostd

import (
	"crypto/rand"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/quote"
)

// nonceText is a new challenge for the log of these tests.
func nonceText(t *testing.T, change func(*challenge.Challenge)) []byte {
	t.Helper()
	c := must(challenge.New(testOrigin, noon, rand.Reader))
	if change != nil {
		change(c)
	}
	return must(c.Marshal())
}

// answerTo is the board's answer to a challenge.
func (b *board) answerTo(text []byte) *challenge.Answer {
	c := must(challenge.Parse(text))
	tag := quote.ChallengeTag(c.Nonce)
	return &challenge.Answer{Origin: c.Origin, Nonce: c.Nonce, Certify: b.TPM.CertifyHead(tag), Quote: b.TPM.QuotePCR(tag), Checkpoint: b.Note}
}

func (w *world) challenge(text []byte) *client {
	w.t.Helper()
	return w.ask(&api.Request{Op: api.OpChallenge, Text: text})
}

// TestChallenge: the board's answer comes back as it is; what anybody else says
// on the cable meanwhile does not.
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	text := nonceText(t, nil)
	c := w.challenge(text)
	if m := hear[*message.Challenge](w.b); string(m.Text) != string(text) {
		t.Fatalf("the board got %q", m.Text)
	}
	w.b.say(&message.Answer{Text: []byte("nonsense\n")})
	w.b.say(&message.Answer{Text: must(w.b.answerTo(nonceText(t, nil)).Marshal())}) // to another
	forged := newBoard(t).answerTo(text)
	w.b.say(&message.Answer{Text: must(forged.Marshal())})
	w.b.say(&message.Refused{Job: message.JobID{1}, Code: message.CodeBusy, Text: "about something else"})
	answer := must(w.b.answerTo(text).Marshal())
	w.b.say(&message.Answer{Text: answer})
	if r := c.expect(api.OK, ""); string(r.Answer) != string(answer) {
		t.Fatalf("answer %q", r.Answer)
	}
	w.b.say(&message.Answer{Text: answer}) // to nobody
	w.settled()
}

func TestChallengeFails(t *testing.T) {
	w := newWorld(t)
	w.challenge(nonceText(t, nil)).expect(api.LinkDown, "no conversation")
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.challenge([]byte("nonsense")).expect(api.BadInput, "no challenge")
	w.challenge(nonceText(t, func(c *challenge.Challenge) { c.Origin = "other.example/log" })).expect(api.BadInput, "other.example/log")
	w.challenge(nonceText(t, func(c *challenge.Challenge) {
		c.Credential = &challenge.Credential{Blob: []byte{1}, Secret: []byte{2}}
	})).expect(api.BadInput, "only a stopped board")
	text := nonceText(t, nil)
	c := w.challenge(text)
	hear[*message.Challenge](w.b)
	w.b.say(&message.Refused{Job: message.ChallengeID(text), Code: message.CodeBusy, Text: "a newer one came"})
	c.expect(api.DeviceFault, "a newer one came")

	older := w.challenge(nonceText(t, nil))
	hear[*message.Challenge](w.b)
	newer := w.challenge(nonceText(t, nil))
	hear[*message.Challenge](w.b)
	older.expect(api.DeviceFault, "another challenge")
	w.b.drop()
	newer.expect(api.LinkDown, "ask again")

	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.d.loop.Post(func() { w.d.loop.Waits.AnswerWait = time.Millisecond })
	w.challenge(nonceText(t, nil)).expect(api.DeviceFault, "did not answer")
}

// TestChallengeToHaltedBoard: a board that has halted answers too.
func TestChallengeToHaltedBoard(t *testing.T) {
	w := newWorld(t)
	h := w.b.connect()
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt, m.Attest, m.Sig = message.StateHalted, "head-unknown", nil, nil
	w.b.say(m)
	for w.status().Board != message.StateHalted {
		continue
	}
	text := nonceText(t, nil)
	c := w.challenge(text)
	hear[*message.Challenge](w.b)
	w.b.say(&message.Answer{Text: must(w.b.answerTo(text).Marshal())})
	c.expect(api.OK, "")
}

// TestClientOfChallengeGone: the connection may end before the answer comes.
func TestClientOfChallengeGone(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	text := nonceText(t, nil)
	c := w.challenge(text)
	hear[*message.Challenge](w.b)
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	w.b.say(&message.Answer{Text: must(w.b.answerTo(text).Marshal())})
	w.settled()
	if s := w.status(); !s.Verified {
		t.Fatalf("%+v", s)
	}
}
