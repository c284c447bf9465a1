package station

import (
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
	known := s.decree
	if err := s.takeOrder(note); err != nil || s.decree == known {
		return err
	}
	d := s.decree
	d.timer = s.after(s.cfg.ArmTimeout, func() {
		if s.decree == d && d.state == decreeShown {
			s.dropDecree(message.CodeArmTimeout, "nobody armed it in time")
		}
	})
	return nil
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
