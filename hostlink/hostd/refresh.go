package hostd

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

// fresh greets the board again if what is known of it is old, and calls then
// when it has answered or has not for a while. A ceremony is not disturbed.
func (d *Daemon) fresh(then func()) {
	c := d.conv
	if !d.proven() || len(d.jobs) > 0 || d.loop.Clock().Sub(c.seen) < freshFor {
		then()
		return
	}
	c.refresh.then = append(c.refresh.then, then)
	if len(c.refresh.then) > 1 {
		return
	}
	c.refresh.nonce = nonce()
	if err := d.greet(c.refresh.nonce); err != nil {
		d.broken(err)
	}
	d.loop.After(d.loop.Waits.FreshWait, c.refresh.done)
}

func (r *refresh) done() {
	for _, f := range r.then {
		f()
	}
	r.then = nil
}

// refreshed takes the answer. One that proves nothing, or nothing yet, leaves
// what was known, with its age.
func (d *Daemon) refreshed(w *message.Welcome) {
	c := d.conv
	defer c.refresh.done()
	head, err := d.attested(w)
	if err != nil {
		d.log.Error().Err(err).Msg("attestation")
		return
	}
	if ok, err := d.mirror.Explains(head); err != nil || !ok || c.welcome == nil {
		d.log.Warn().Msg("HEAD has moved on, its entries are on their way")
		return
	}
	c.welcome, c.seen = w, d.loop.Clock()
	c.ahead = w.Time.Sub(c.seen)
	d.haltedBoard(w)
}
