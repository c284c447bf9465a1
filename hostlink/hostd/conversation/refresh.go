package conversation

import (
	"time"

	"touchmark/hostlink/message"
)

// refresh is a greeting within a conversation that is ready, so that a status
// says how the board is now. It costs the board's TPM a signature: it is made
// only when somebody asks and the last one is old.
type refresh struct {
	nonce [16]byte
	then  []func() // who waits for it
}

func (r *refresh) wanted() bool { return len(r.then) > 0 }

// freshFor is how old what a status says may be.
const freshFor = 15 * time.Second

// Fresh greets the board again if what is known of it is old, and calls then
// when it has answered or has not for a while. A ceremony is not disturbed: busy
// says that there is one.
func (b *Board) Fresh(busy bool, then func()) {
	c := b.conv
	if !b.Proven() || busy || b.o.Loop.Clock().Sub(c.seen) < freshFor {
		then()
		return
	}
	c.refresh.then = append(c.refresh.then, then)
	if len(c.refresh.then) > 1 {
		return
	}
	c.refresh.nonce = nonce()
	if err := b.greet(c.refresh.nonce); err != nil {
		b.Broken(err)
	}
	b.o.Loop.After(b.o.Loop.Waits.FreshWait, c.refresh.done)
}

func (r *refresh) done() {
	for _, f := range r.then {
		f()
	}
	r.then = nil
}

// refreshed takes the answer. One that proves nothing, or nothing yet, leaves
// what was known, with its age.
func (b *Board) refreshed(w *message.Welcome) {
	c := b.conv
	defer c.refresh.done()
	head, err := b.attested(w)
	if err != nil {
		b.o.Log.Error().Err(err).Msg("attestation")
		return
	}
	if ok, err := b.o.Mirror.Explains(head); err != nil || !ok || c.welcome == nil {
		b.o.Log.Warn().Msg("HEAD has moved on, its entries are on their way")
		return
	}
	c.welcome, c.seen = w, b.o.Loop.Clock()
	c.ahead = w.Time.Sub(c.seen)
	b.haltedBoard(w)
}
