package perform

import (
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/station/chain"
	"touchmark/hostlink/message"
)

// signCheckpoint prepares the checkpoint of the commit, to be signed beside the loop,
// and what then has the host told: who can verify it while the TPM makes the quote and the
// token waits for its touch.
func (c *Ceremony) signCheckpoint() (unsigned *chain.Unsigned, told func(note []byte)) {
	unsigned, err := c.board.Chain.Unsigned()
	if err != nil || c.Ordered { // Prove meets the error again; an order's checkpoint is told at its end
		return nil, nil
	}
	signed := make(chan []byte, 1)
	c.checkpoint = signed
	return unsigned, func(note []byte) {
		signed <- note
		c.board.Loop.Post(func() {
			if !c.machine.Phase().Over() {
				_ = c.Prove() // it is there, so that nothing can fail
			}
		})
	}
}

// Prove makes the checkpoint of the commit the newest, signed now if it is not yet, and
// tells the host, once in a session. It is to be called for a commit that was attested. An
// error is the log's, which cannot be read.
func (c *Ceremony) Prove() (err error) {
	if !c.proven {
		select {
		case c.board.Chain.Checkpoint = <-c.checkpoint:
		default:
			err = c.board.Chain.Sign(c.attest)
		}
	}
	if err != nil {
		return err
	}
	c.proven = true
	if c.board.Line.Host() != "" && c.told != c.board.Line.Session() {
		m := message.Checkpoint{Note: c.board.Chain.Checkpoint}
		c.board.Line.Send(m.Marshal())
		c.told = c.board.Line.Session()
	}
	return nil
}

// Tell hints to the host how the ceremony goes.
func (c *Ceremony) Tell() {
	m := c.Event(time.Now())
	c.board.Line.Send(m.Marshal())
}

// Event is the hint that fits the ceremony's state. A host counts the seconds down
// by itself.
func (c *Ceremony) Event(now time.Time) message.Event {
	e := message.Event{Job: c.ID, State: message.EventArmed}
	left := SecondsTo(c.until, now)
	switch m := c.machine; {
	case m.Phase() == ceremony.Shown:
		e.State, e.Seconds = message.EventShown, left
	case m.Phase() == ceremony.Touching && m.Denied():
		e.State, e.Seconds, e.Item = message.EventTokenWait, left, m.Current()
	case m.Phase() == ceremony.Touching:
		e.State, e.Seconds, e.Item = message.EventTouch, left, m.Current()
	}
	return e
}

// SecondsTo is how many seconds are left, begun ones counted.
func SecondsTo(end, now time.Time) int { return int((end.Sub(now) + time.Second - 1) / time.Second) }
