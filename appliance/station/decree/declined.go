package decree

import (
	"touchmark/appliance/intake"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
)

// MaxDeclined bounds the orders that are remembered as declined. Each took the
// signatures of a quorum of administrators.
const MaxDeclined = 64

// Declined are orders that nobody wanted: the operator denied them, or nobody armed
// them in time. Whoever sits on the link can send a note again and again: one of
// these is not shown again before a restart, so that it cannot keep jobs from the
// display. Who can bring a stick to the board can bring it again.
type Declined struct {
	codes map[[32]byte]string
}

// Answer says why an order that a host brought is not looked at.
func (d *Declined) Answer(note []byte) error {
	hash, err := order.Hash(note)
	switch {
	case err != nil:
		return intake.Refuse(message.CodeBadMessage, "%v", err)
	case d.codes[hash] != "":
		return intake.Refuse(d.codes[hash], "this order came to nothing before: bring it to the board on a stick, or restart the board")
	case len(d.codes) >= MaxDeclined:
		return intake.Refuse(message.CodeTooMany, "%d orders came to nothing since the board started: bring this one on a stick", MaxDeclined)
	}
	return nil
}

// Note remembers an order that ended with this code, if that says that nobody
// wanted it.
func (d *Declined) Note(hash [32]byte, code string) {
	if code != message.CodeDenied && code != message.CodeArmTimeout {
		return
	}
	if d.codes == nil {
		d.codes = map[[32]byte]string{}
	}
	if len(d.codes) < MaxDeclined {
		d.codes[hash] = code
	}
}
