package conversation

import (
	"crypto/rand"
	"errors"
	"fmt"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/tpm/quote"
)

// hello opens the conversation, and opens it again until it is ready: the
// board drops a hello when it gets too many.
func (b *Board) hello(c *session) {
	if b.conv != c || c.ready {
		return
	}
	b.o.Loop.After(b.o.Loop.Waits.HelloRetry, func() { b.hello(c) })
	if c.welcome != nil {
		return // answered; its entries are on their way
	}
	c.nonce, c.fetching = nonce(), 0
	if err := b.greet(c.nonce); err != nil {
		b.Broken(err)
	}
}

// greet sends a hello.
func (b *Board) greet(nonce [16]byte) error {
	size, root, err := b.o.Mirror.Head()
	if err != nil {
		return err
	}
	h := message.Hello{Origin: b.o.Mirror.Pinned().Origin, Nonce: nonce, HostTime: b.o.Loop.Now(), HeadSize: size, HeadRoot: root}
	n, err := b.Signed(h.Marshal())
	if err != nil {
		return err
	}
	b.Send(n)
	return nil
}

// welcome takes the answer to our hello. What it proves is weighed when all
// entries it speaks of are here (settleWelcome).
func (b *Board) welcome(w *message.Welcome) {
	c := b.conv
	switch {
	case w.Nonce == c.refresh.nonce && c.refresh.wanted():
		b.refreshed(w)
		return
	case w.Nonce != c.nonce:
		return // an answer to an earlier hello
	case w.Origin != b.o.Mirror.Pinned().Origin:
		b.noConversation("the appliance is " + w.Origin + ", the trust file is for " + b.o.Mirror.Pinned().Origin)
		return
	}
	b.haltedBoard(w)
	switch {
	case c.halted && w.Total < b.o.Mirror.Size():
		b.boardBehind(w)
		return
	case !b.longEnough(w):
		return
	case len(w.Checkpoint) == 0 && c.halted:
		c.problem = c.haltedText()
		return
	case len(w.Checkpoint) == 0:
		b.noConversation("the appliance shows no checkpoint of its log: look at its display")
		return
	}
	if err := b.o.Mirror.Advance(w.Checkpoint); err != nil {
		b.problem(err)
		return
	}
	head, err := b.attested(w)
	if err != nil {
		b.noConversation(err.Error())
		return
	}
	c.welcome, c.head, c.total = w, head, w.Total
	c.ahead = w.Time.Sub(b.o.Loop.Clock())
	b.fetch()
	b.settleWelcome()
}

// noConversation notes why this welcome is none to build on.
func (b *Board) noConversation(why string) {
	b.conv.problem = why
	b.o.Log.Error().Msg(why)
}

// longEnough compares the length of the board's log with the mirror. Entries that
// no checkpoint covers, and the board does not know, are dropped.
func (b *Board) longEnough(w *message.Welcome) bool {
	switch {
	case w.Total < b.o.Mirror.Committed():
		b.problem(mirror.Hearsay("log-shorter", map[string][]byte{"welcome": w.Marshal()},
			"the appliance says that it holds %d entries, this host verified %d: its log was rolled back or replaced, or somebody on the cable lies", w.Total, b.o.Mirror.Committed()))
		return false
	case w.Total < b.o.Mirror.Size():
		if err := b.o.Mirror.Drop(); err != nil {
			b.Broken(err)
			return false
		}
	}
	if w.Total-b.o.Mirror.Size() > maxBehind {
		b.noConversation("the appliance claims a log of absurd length")
		return false
	}
	return true
}

// boardBehind is a board that halted and holds less than this mirror: its disk
// was replaced or rolled back. It asks for what it lacks, and takes what its
// TPM vouches for; nothing is forgotten here meanwhile, and it is greeted again
// until it is whole.
func (b *Board) boardBehind(w *message.Welcome) {
	c := b.conv
	c.problem = fmt.Sprintf("the appliance has halted and holds %d of the %d entries that this host has: it can have them", w.Total, b.o.Mirror.Size())
	b.o.Log.Error().Msg(c.problem)
	c.welcome = nil
	if c.ready {
		c.ready = false
		b.o.Loop.After(b.o.Loop.Waits.HelloRetry, func() { b.hello(c) })
	}
}

// attested verifies HEAD's attestation over the nonce of the hello that w
// answers, and gives HEAD.
func (b *Board) attested(w *message.Welcome) (head [32]byte, err error) {
	if len(w.Attest) == 0 {
		return head, errors.New("the appliance shows no attestation of its TPM: look at its display")
	}
	facts, err := b.o.Mirror.Pinned().AttestKey.VerifyNV(quote.Attestation{Attest: w.Attest, Sig: w.Sig}, b.o.Mirror.Pinned().HeadName, quote.HelloTag(w.Nonce[:]))
	if err != nil {
		return head, err
	}
	return facts.Contents, nil
}

// settleWelcome makes the conversation ready once mirror, checkpoint and the
// attested HEAD agree.
func (b *Board) settleWelcome() {
	c := b.conv
	if c == nil || c.ready || c.welcome == nil || b.o.Mirror.Size() < c.total {
		return
	}
	ok, err := b.o.Mirror.Explains(c.head)
	if err != nil {
		b.Broken(err)
		return
	}
	if !ok {
		b.notExplained(c)
		return
	}
	c.ready, c.problem, c.suspect, c.unexplained, c.seen = true, "", false, 0, b.o.Loop.Clock()
	b.acknowledge() // the board may still wait for one that went down with an earlier session
	b.o.Log.Info().Uint64("entries", c.total).Str("board", c.welcome.State).Str("firmware", c.welcome.Firmware).Msg("log verified")
	b.o.Hooks.Met()
}

// maxUnexplained is how often in a row the board may attest a HEAD that its own
// log does not explain: a commit can be under way once.
const maxUnexplained = 3

// notExplained counts a HEAD that the log does not lead to. A commit that
// overtook the answer explains one, entries that were made on the cable another;
// so they are asked for again. What stays is loud, and nothing is submitted.
func (b *Board) notExplained(c *session) {
	c.unexplained++
	w := c.welcome
	c.problem, c.welcome = "the TPM's HEAD is not where the appliance's log leads; asking again", nil
	b.o.Log.Error().Msg(c.problem)
	if c.unexplained >= maxUnexplained {
		b.problem(mirror.Hearsay("head-unexplained", map[string][]byte{"welcome": w.Marshal()},
			"the appliance's TPM attests a HEAD that the log it shows does not explain: entries are held back or false, by somebody on the cable or the appliance"))
		return
	}
	if err := b.o.Mirror.Drop(); err != nil {
		b.Broken(err)
	}
}

// haltedBoard takes whether the board says that it has halted. Then it ends what
// waits: a halted board signs nothing, and who lies about it could as well say
// nothing at all.
func (b *Board) haltedBoard(w *message.Welcome) {
	c := b.conv
	if c.halted, c.halt = w.State == message.StateHalted, w.Halt; c.halted {
		b.o.Log.Error().Str("state", c.halt).Msg("the appliance has halted")
		b.o.Hooks.Halted()
	}
}

// Halt takes the board's word, instead of a welcome, that it has halted.
func (b *Board) Halt(text string) { b.conv.halted, b.conv.problem = true, text }

// haltedText says that the board has halted, and in which state.
func (c *session) haltedText() string {
	state := ""
	if c.halt != "" {
		state = " (" + c.halt + ")"
	}
	return "the appliance has halted" + state + " and signs nothing: its display says what leads out of it, and so does the operator guide"
}

// HelloAgain is for a board that lost our hello.
func (b *Board) HelloAgain() {
	if c := b.conv; c != nil && c.ready {
		c.ready, c.welcome, c.problem = false, nil, "greeting the appliance again"
		b.hello(c)
	}
}

func nonce() (n [16]byte) {
	rand.Read(n[:]) // never fails: crypto/rand ends the program instead
	return n
}
