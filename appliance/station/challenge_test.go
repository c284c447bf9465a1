package station

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/station/challenges"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// asks sends the board a new challenge.
func (b *board) asks() *challenge.Challenge {
	b.t.Helper()
	c, err := challenge.New(origin, b.now(), rand.Reader)
	must(b.t, err)
	b.send((&message.Challenge{Text: challengeText(b.t, c)}).Marshal())
	return c
}

func challengeText(t *testing.T, c *challenge.Challenge) []byte {
	t.Helper()
	text, err := c.Marshal()
	must(t, err)
	return text
}

// answer is the board's next, which must be to c and hold: HEAD is that of its checkpoint.
func (b *board) answer(c *challenge.Challenge) *anchor.Checkpoint {
	b.t.Helper()
	for {
		p := b.receive()
		m, ok := p.(*message.Answer)
		if !ok {
			if r := b.refused[message.ChallengeID(challengeText(b.t, c))]; r != nil {
				b.t.Fatalf("refused: %s", r.Text)
			}
			continue
		}
		a, err := challenge.ParseAnswer(m.Text)
		must(b.t, err)
		must(b.t, c.Check(a, nil))
		cp, err := b.trust.OpenCheckpoint(a.Checkpoint)
		must(b.t, err)
		ak := b.tpm.tpm.AK()
		nv, err := ak.VerifyNV(a.Certify, b.trust.HeadName, quote.ChallengeTag(c.Nonce))
		must(b.t, err)
		if _, err := ak.VerifyQuote(a.Quote, b.trust.PCR, quote.ChallengeTag(c.Nonce)); err != nil {
			b.t.Fatal(err)
		}
		if nv.Contents != cp.Facts.Contents && b.tpm.tpm.Head == cp.Facts.Contents {
			b.t.Error("HEAD in the answer is not its checkpoint's")
		}
		return cp
	}
}

func TestChallengeIsAnswered(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.answer(b.asks())
	o := b.signs("a.db", "content")
	if cp := b.answer(b.asks()); cp.Size <= o.Intent {
		t.Errorf("a checkpoint of %d entries after intent %d", cp.Size, o.Intent)
	}
	b.signs("b.db", "content")
	b.replays()
}

// While an intent is under way HEAD moves: the answer waits until its checkpoint is there.
func TestChallengeWaitsForTheCommit(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	c := b.asks()
	b.send((&message.Fetch{From: 1 << 40}).Marshal()) // refused, after the challenge was looked at
	for b.refused[message.JobID{}] == nil {
		if _, ok := b.receive().(*message.Answer); ok {
			t.Fatal("answered while the token waits")
		}
	}
	b.token.touch <- nil
	if cp := b.answer(c); cp.Size < 3 {
		t.Errorf("the checkpoint is of %d entries, not of the intent's commit", cp.Size)
	}
}

// What is no challenge for this board is refused by its name; a stranger is told nothing.
func TestChallengeRefused(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.up()
	b.asks() // before a hello
	b.connect()
	good := &challenge.Challenge{Origin: origin, Time: b.now(), Nonce: [32]byte{1}}
	other, credential := *good, *good
	other.Origin = "touchmark.example/other"
	credential.Credential = &challenge.Credential{Blob: []byte("b"), Secret: []byte("s")}
	for code, texts := range map[string][][]byte{
		message.CodeBadMessage: {
			[]byte("no challenge\n"), challengeText(t, &credential),
			[]byte(strings.Replace(string(challengeText(t, good)), "nonce 01", "nonce 1", 1)),
			append(challengeText(t, good), "more x\n"...),
		},
		message.CodeWrongOrigin: {challengeText(t, &other)},
	} {
		for _, text := range texts {
			b.send((&message.Challenge{Text: text}).Marshal())
			id := message.ChallengeID(text)
			b.until(func() bool { return b.refused[id] != nil })
			if r := b.refused[id]; r.Code != code {
				t.Errorf("%.40q: %s %s, want %s", text, r.Code, r.Text, code)
			}
		}
	}
	b.answer(b.asks())
	b.signs("a.db", "content")
}

// However many come, the TPM signs no more than the ration for them, and the newest of those that wait is the one that waits.
func TestChallengesAreRationed(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	begun := time.Now()
	const flood = 60
	answered, refused := 0, 0
	for range flood {
		b.asks()
	}
	for answered+refused < flood-1 { // the last one waits
		switch p := b.receive().(type) {
		case *message.Answer:
			answered++
		case *message.Refused:
			if p.Code != message.CodeBusy {
				t.Fatalf("%s: %s", p.Code, p.Text)
			}
			refused++
		}
	}
	if most := challenges.Burst + 1 + int(time.Since(begun)/challenges.Every); answered > most {
		t.Errorf("%d answers, at most %d", answered, most)
	}
	b.signs("a.db", "content") // it does not keep the board from its work
	b.replays()
}

// A TPM that fails is told, and harms nothing; the next is answered.
func TestChallengeWithoutTPM(t *testing.T) {
	for _, command := range []string{"NV_Certify", "Quote"} {
		b := newBoard(t)
		b.start()
		b.connect()
		b.tpm.fail(command, "before")
		id := message.ChallengeID(challengeText(t, b.asks()))
		b.until(func() bool { return b.refused[id] != nil })
		if r := b.refused[id]; r.Code != message.CodeInternal {
			t.Errorf("%s: %s", command, r.Code)
		}
		b.answer(b.asks())
		b.signs("a.db", "content")
		b.replays()
	}
}

// A board that halted answers too: what its TPM holds is what an auditor wants to know then.
func TestChallengeToAHaltedBoard(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	b.tpm.tpm.ExtendHead([32]byte{1})
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halted != "" })
	b.connect()
	b.answer(b.asks())
}

// full is a log whose disk is full from some moment on.
type full struct {
	*ledgerstore.Store
	now *atomic.Bool
}

func (f full) Append(entries [][]byte, plan *anchor.Plan) error {
	if f.now.Load() {
		return errors.New("no space left on device")
	}
	return f.Store.Append(entries, plan)
}

// A board that halted inside a commit does not answer: HEAD has moved, and no
// checkpoint says so yet. A start settles that, whatever kept the board from it.
func TestChallengeInsideACommit(t *testing.T) {
	b := newBoard(t)
	disk := new(atomic.Bool)
	b.log = func(s *ledgerstore.Store) past.Log { return full{s, disk} }
	b.start()
	b.connect()
	b.signs("a.db", "content")
	id, m := b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	disk.Store(true)
	b.token.touch <- nil
	unsettled := func() {
		b.view("a halt", func(v operator.View) bool { return v.Halted != "" && v.Job == nil })
		b.connect()
		id := message.ChallengeID(challengeText(t, b.asks()))
		b.until(func() bool { return b.refused[id] != nil })
		if r := b.refused[id]; r.Code != message.CodeBusy || !strings.Contains(r.Text, "start the board") {
			t.Fatalf("%+v", r)
		}
	}
	unsettled()
	b.kill()
	b.start() // nothing can be written yet
	unsettled()
	b.kill()
	disk.Store(false)
	b.start()
	b.connect()
	b.answer(b.asks())
	b.signs("c.db", "content")
	b.replays()
}

// A challenge of a session that ended is nobody's any more.
func TestChallengeEndsWithItsSession(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.asks()
	b.connect()
	b.token.touch <- nil
	o := b.end(id)
	b.proves(o, "content")
	b.answer(b.asks())
}
