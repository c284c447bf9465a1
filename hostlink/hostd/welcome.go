package hostd

import (
	"errors"
	"fmt"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/tpm/quote"
)

// hello opens the conversation, and opens it again until it is ready: the
// board drops a hello when it gets too many.
func (d *Daemon) hello(c *conversation) {
	if d.conv != c || c.ready {
		return
	}
	d.loop.After(d.loop.Waits.HelloRetry, func() { d.hello(c) })
	if c.welcome != nil {
		return // answered; its entries are on their way
	}
	c.nonce, c.fetching = nonce(), 0
	if err := d.greet(c.nonce); err != nil {
		d.broken(err)
	}
}

// greet sends a hello.
func (d *Daemon) greet(nonce [16]byte) error {
	size, root, err := d.mirror.Head()
	if err != nil {
		return err
	}
	h := message.Hello{Origin: d.mirror.Pinned().Origin, Nonce: nonce, HostTime: d.loop.Now(), HeadSize: size, HeadRoot: root}
	n, err := d.signed(h.Marshal())
	if err != nil {
		return err
	}
	d.send(n)
	return nil
}

// welcome takes the answer to our hello. What it proves is weighed when all
// entries it speaks of are here (settleWelcome).
func (d *Daemon) welcome(w *message.Welcome) {
	c := d.conv
	switch {
	case w.Nonce == c.refresh.nonce && c.refresh.wanted():
		d.refreshed(w)
		return
	case w.Nonce != c.nonce:
		return // an answer to an earlier hello
	case w.Origin != d.mirror.Pinned().Origin:
		d.noConversation("the appliance is " + w.Origin + ", the trust file is for " + d.mirror.Pinned().Origin)
		return
	}
	d.haltedBoard(w)
	switch {
	case c.halted && w.Total < d.mirror.Size():
		d.boardBehind(w)
		return
	case !d.longEnough(w):
		return
	case len(w.Checkpoint) == 0 && c.halted:
		c.problem = c.haltedText()
		return
	case len(w.Checkpoint) == 0:
		d.noConversation("the appliance shows no checkpoint of its log: look at its display")
		return
	}
	if err := d.mirror.Advance(w.Checkpoint); err != nil {
		d.problem(err)
		return
	}
	head, err := d.attested(w)
	if err != nil {
		d.noConversation(err.Error())
		return
	}
	c.welcome, c.head, c.total = w, head, w.Total
	c.ahead = w.Time.Sub(d.loop.Clock())
	d.fetch()
	d.settleWelcome()
}

// noConversation notes why this welcome is none to build on.
func (d *Daemon) noConversation(why string) {
	d.conv.problem = why
	d.log.Error().Msg(why)
}

// longEnough compares the length of the board's log with the mirror. Entries that
// no checkpoint covers, and the board does not know, are dropped.
func (d *Daemon) longEnough(w *message.Welcome) bool {
	switch {
	case w.Total < d.mirror.Committed():
		d.problem(mirror.Hearsay("log-shorter", map[string][]byte{"welcome": w.Marshal()},
			"the appliance says that it holds %d entries, this host verified %d: its log was rolled back or replaced, or somebody on the cable lies", w.Total, d.mirror.Committed()))
		return false
	case w.Total < d.mirror.Size():
		if err := d.mirror.Drop(); err != nil {
			d.broken(err)
			return false
		}
	}
	if w.Total-d.mirror.Size() > maxBehind {
		d.noConversation("the appliance claims a log of absurd length")
		return false
	}
	return true
}

// boardBehind is a board that halted and holds less than this mirror: its disk
// was replaced or rolled back. It asks for what it lacks, and takes what its
// TPM vouches for; nothing is forgotten here meanwhile, and it is greeted again
// until it is whole.
func (d *Daemon) boardBehind(w *message.Welcome) {
	c := d.conv
	c.problem = fmt.Sprintf("the appliance has halted and holds %d of the %d entries that this host has: it can have them", w.Total, d.mirror.Size())
	d.log.Error().Msg(c.problem)
	c.welcome = nil
	if c.ready {
		c.ready = false
		d.loop.After(d.loop.Waits.HelloRetry, func() { d.hello(c) })
	}
}

// attested verifies HEAD's attestation over the nonce of the hello that w
// answers, and gives HEAD.
func (d *Daemon) attested(w *message.Welcome) (head [32]byte, err error) {
	if len(w.Attest) == 0 {
		return head, errors.New("the appliance shows no attestation of its TPM: look at its display")
	}
	facts, err := d.mirror.Pinned().AttestKey.VerifyNV(quote.Attestation{Attest: w.Attest, Sig: w.Sig}, d.mirror.Pinned().HeadName, quote.HelloTag(w.Nonce[:]))
	if err != nil {
		return head, err
	}
	return facts.Contents, nil
}

// settleWelcome makes the conversation ready once mirror, checkpoint and the
// attested HEAD agree.
func (d *Daemon) settleWelcome() {
	c := d.conv
	if c == nil || c.ready || c.welcome == nil || d.mirror.Size() < c.total {
		return
	}
	ok, err := d.mirror.Explains(c.head)
	if err != nil {
		d.broken(err)
		return
	}
	if !ok {
		d.notExplained(c)
		return
	}
	c.ready, c.problem, c.suspect, c.unexplained, c.seen = true, "", false, 0, d.loop.Clock()
	d.acknowledge() // the board may still wait for one that went down with an earlier session
	d.log.Info().Uint64("entries", c.total).Str("board", c.welcome.State).Str("firmware", c.welcome.Firmware).Msg("log verified")
	d.publish()
	d.settle()
	d.handOverAll()
	d.orphans()
}

// notExplained counts a HEAD that the log does not lead to. A commit that
// overtook the answer explains one, entries that were made on the cable another;
// so they are asked for again. What stays is loud, and nothing is submitted.
func (d *Daemon) notExplained(c *conversation) {
	c.unexplained++
	w := c.welcome
	c.problem, c.welcome = "the TPM's HEAD is not where the appliance's log leads; asking again", nil
	d.log.Error().Msg(c.problem)
	if c.unexplained >= maxUnexplained {
		d.problem(mirror.Hearsay("head-unexplained", map[string][]byte{"welcome": w.Marshal()},
			"the appliance's TPM attests a HEAD that the log it shows does not explain: entries are held back or false, by somebody on the cable or the appliance"))
		return
	}
	if err := d.mirror.Drop(); err != nil {
		d.broken(err)
	}
}

// haltedBoard takes whether the board says that it has halted. Then it ends what
// waits: a halted board signs nothing, and who lies about it could as well say
// nothing at all.
func (d *Daemon) haltedBoard(w *message.Welcome) {
	c := d.conv
	if c.halted, c.halt = w.State == message.StateHalted, w.Halt; c.halted {
		d.log.Error().Str("state", c.halt).Msg("the appliance has halted")
		d.endHalted()
		d.handOverAll()
	}
}

// haltedText says that the board has halted, and in which state.
func (c *conversation) haltedText() string {
	state := ""
	if c.halt != "" {
		state = " (" + c.halt + ")"
	}
	return "the appliance has halted" + state + " and signs nothing: its display says what leads out of it, and so does the operator guide"
}

// helloAgain is for a board that lost our hello.
func (d *Daemon) helloAgain() {
	if c := d.conv; c != nil && c.ready {
		c.ready, c.welcome, c.problem = false, nil, "greeting the appliance again"
		d.hello(c)
	}
}
