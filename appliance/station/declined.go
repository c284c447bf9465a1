package station

import (
	"time"

	"touchmark/appliance/station/perform"
	"touchmark/hostlink/message"
)

// orderFromHost is takeOrder for what came over the link.
func (s *Station) orderFromHost(note []byte) error {
	if err := s.declined.Answer(note); err != nil {
		return err
	}
	return s.takeOrder(note, true)
}

// limitDecree bounds how long an order of a host's stays on display unarmed, from
// when it is there.
func (s *Station) limitDecree(d *errand) {
	if !d.linked || d.timer != nil || d.state != decreeShown {
		return
	}
	d.until = time.Now().Add(s.cfg.ArmTimeout)
	d.timer = s.loop.After(s.cfg.ArmTimeout, func() {
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
		e = d.job.ceremony.Event(time.Now())
	case d.state == decreeShown && s.job != nil:
		e.State = message.EventQueued
	case d.state == decreeShown:
		e.State, e.Seconds = message.EventShown, max(0, perform.SecondsTo(d.until, time.Now()))
	}
	e.Job = d.Hash
	s.line.Send(e.Marshal())
}
