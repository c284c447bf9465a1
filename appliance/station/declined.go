package station

import (
	"time"

	"touchmark/appliance/intake"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
)

// maxDeclined bounds the orders that are remembered as declined. Each took the
// signatures of a quorum of administrators.
const maxDeclined = 64

// orderFromHost is takeOrder for what came over the link, where whoever sits on
// it can send a note again and again: one that the operator denied, or that
// nobody armed in time, is not shown again before a restart, so that it cannot
// keep jobs from the display. Who can bring a stick to the board can bring it
// again.
func (s *Station) orderFromHost(note []byte) error {
	hash, err := order.Hash(note)
	switch {
	case err != nil:
		return intake.Refuse(message.CodeBadMessage, "%v", err)
	case s.declined[hash] != "":
		return intake.Refuse(s.declined[hash], "this order came to nothing before: bring it to the board on a stick, or restart the board")
	case len(s.declined) >= maxDeclined:
		return intake.Refuse(message.CodeTooMany, "%d orders came to nothing since the board started: bring this one on a stick", maxDeclined)
	}
	return s.takeOrder(note, true)
}

// orderID names an order where messages name a job: by its hash, or by zeros if
// it has none.
func orderID(note []byte) message.JobID {
	hash, err := order.Hash(note)
	if err != nil {
		return message.JobID{}
	}
	return hash
}

// limitDecree bounds how long an order of a host's stays on display unarmed, from
// when it is there.
func (s *Station) limitDecree(d *decree) {
	if !d.linked || d.timer != nil || d.state != decreeShown {
		return
	}
	d.until = time.Now().Add(s.cfg.ArmTimeout)
	d.timer = s.after(s.cfg.ArmTimeout, func() {
		if s.decree == d && d.state == decreeShown {
			s.dropDecree(message.CodeArmTimeout, "nobody armed it in time")
		}
	})
}

// tellOrder hints to the host how the order goes that is with the board.
func (s *Station) tellOrder() {
	d := s.decree
	e := message.Event{State: message.EventArmed}
	switch {
	case d.job != nil:
		e = d.job.event(time.Now())
	case d.state == decreeShown && s.job != nil:
		e.State = message.EventQueued
	case d.state == decreeShown:
		e.State, e.Seconds = message.EventShown, max(0, secondsTo(d.until, time.Now()))
	}
	e.Job = d.hash
	s.send(chanInteractive, e.Marshal())
}

// decline remembers that nobody wanted an order.
func (s *Station) decline(d *decree, code string) {
	if code != message.CodeDenied && code != message.CodeArmTimeout {
		return
	}
	if s.declined == nil {
		s.declined = map[[32]byte]string{}
	}
	if len(s.declined) < maxDeclined {
		s.declined[d.hash] = code
	}
}
