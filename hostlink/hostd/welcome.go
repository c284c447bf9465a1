package hostd

import (
	"errors"
	"fmt"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/tpm/quote"
)

func (d *Daemon) hello(c *conversation) {
	if d.conv != c || c.ready {
		return
	}
	d.after(d.o.Timing.HelloRetry, func() { d.hello(c) })
	if c.welcome != nil {
		return // answered; its entries are on their way
	}
	c.nonce, c.fetching = nonce(), 0
	if err := d.greet(c.nonce); err != nil {
		d.broken(err)
	}
}

func (d *Daemon) greet(nonce [16]byte) error {
	size, root, err := d.mirror.Head()
	if err != nil {
		return err
	}
	h := message.Hello{Origin: d.o.Trust.Origin, Nonce: nonce, HostTime: d.now(), HeadSize: size, HeadRoot: root}
	n, err := d.signed(h.Marshal())
	if err != nil {
		return err
	}
	d.send(n)
	return nil
}

func (d *Daemon) welcome(w *message.Welcome) {
	c := d.conv
	if w.Nonce == c.refresh.nonce && c.refresh.wanted() {
		d.refreshed(w)
		return
	}
	if w.Nonce != c.nonce {
		return // an answer to an earlier hello
	}
	if w.Origin != d.o.Trust.Origin {
		c.problem = "the appliance is " + w.Origin + ", the trust file is for " + d.o.Trust.Origin
		d.log.Error().Msg(c.problem)
		return
	}
	d.haltedBoard(w)
	if c.halted && w.Total < d.mirror.Size() {
		d.boardBehind(w)
		return
	}
	if w.Total < d.mirror.Committed() {
		d.problem(mirror.Hearsay("log-shorter", map[string][]byte{"welcome": w.Marshal()},
			"the appliance says that it holds %d entries, this host verified %d: its log was rolled back or replaced, or somebody on the cable lies", w.Total, d.mirror.Committed()))
		return
	}
	if w.Total < d.mirror.Size() { // no checkpoint covers the rest, and the appliance does not know it
		if err := d.mirror.Drop(); err != nil {
			d.broken(err)
			return
		}
	}
	if w.Total-d.mirror.Size() > maxBehind {
		c.problem = "the appliance claims a log of absurd length"
		d.log.Error().Msg(c.problem)
		return
	}
	if c.halted && len(w.Checkpoint) == 0 {
		c.problem = c.haltedText()
		return
	}
	if len(w.Checkpoint) == 0 {
		c.problem = "the appliance shows no checkpoint of its log: look at its display"
		d.log.Error().Msg(c.problem)
		return
	}
	if err := d.mirror.Advance(w.Checkpoint); err != nil {
		d.problem(err)
		return
	}
	head, err := d.attested(w)
	if err != nil {
		c.problem = err.Error()
		d.log.Error().Err(err).Msg("attestation")
		return
	}
	c.welcome, c.head, c.total = w, head, w.Total
	d.fetch()
	d.settleWelcome()
}

func (d *Daemon) boardBehind(w *message.Welcome) {
	c := d.conv
	c.problem = fmt.Sprintf("the appliance has halted and holds %d of the %d entries that this host has: it can have them", w.Total, d.mirror.Size())
	d.log.Error().Msg(c.problem)
	c.welcome = nil
	if c.ready {
		c.ready = false
		d.after(d.o.Timing.HelloRetry, func() { d.hello(c) })
	}
}

func (d *Daemon) attested(w *message.Welcome) (head [32]byte, err error) {
	if len(w.Attest) == 0 {
		return head, errors.New("the appliance shows no attestation of its TPM: look at its display")
	}
	facts, err := d.o.Trust.AttestKey.VerifyNV(quote.Attestation{Attest: w.Attest, Sig: w.Sig}, d.o.Trust.HeadName, quote.HelloTag(w.Nonce[:]))
	if err != nil {
		return head, err
	}
	return facts.Contents, nil
}

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
	c.ready, c.problem, c.suspect, c.unexplained, c.seen = true, "", false, 0, d.o.Clock()
	d.acknowledge() // the board may still wait for one that went down with an earlier session
	d.log.Info().Uint64("entries", c.total).Str("board", c.welcome.State).Str("firmware", c.welcome.Firmware).Msg("log verified")
	d.publish()
	d.settle()
	d.handOverAll()
	d.orphans()
}

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

func (d *Daemon) haltedBoard(w *message.Welcome) {
	c := d.conv
	if c.halted, c.halt = w.State == message.StateHalted, w.Halt; c.halted {
		d.log.Error().Str("state", c.halt).Msg("the appliance has halted")
		d.endHalted()
		d.handOverAll()
	}
}

func (c *conversation) haltedText() string {
	state := ""
	if c.halt != "" {
		state = " (" + c.halt + ")"
	}
	return "the appliance has halted" + state + " and signs nothing: its display says what leads out of it, and so does the operator guide"
}

func (d *Daemon) helloAgain() {
	if c := d.conv; c != nil && c.ready {
		c.ready, c.welcome, c.problem = false, nil, "greeting the appliance again"
		d.hello(c)
	}
}
