package ccid

import (
	"fmt"
)

// Pipe is the pair of bulk endpoints of a reader. How long its methods wait, and
// when they give up, is decided by whoever made it.
type Pipe interface {
	// Send sends one transfer. It keeps no reference to b.
	Send(b []byte) error
	// Receive waits for one transfer, of at most len(b) bytes, and returns how
	// many came; len(b) is a whole number of packets.
	Receive(b []byte) (int, error)
}

// Slot is a reader's only slot. Owner: one goroutine. After an error, other than
// a [FailedError] or [ErrNoCard], only PowerOff makes sense.
type Slot struct {
	pipe     Pipe
	device   Interface
	seq      byte
	incoming []byte // one message, rounded up to whole packets
}

// NewSlot talks through pipe to the reader that device describes.
func NewSlot(pipe Pipe, device Interface) *Slot {
	packets := (device.MaxMessage + device.PacketSize - 1) / device.PacketSize
	return &Slot{pipe: pipe, device: device, incoming: make([]byte, packets*device.PacketSize)}
}

// PowerOn powers the card on, or resets it, and returns its answer to reset.
func (s *Slot) PowerOn() (atr []byte, err error) {
	a, err := s.exchange(iccPowerOn, 0, nil, dataBlock) // voltage: the reader's choice
	if err != nil {
		return nil, err
	}
	if n := len(a.data); n == 0 || n > maxATR || a.chains != chainWhole {
		return nil, fmt.Errorf("%w: an answer to reset of %d bytes", ErrMalformed, n)
	}
	return append([]byte(nil), a.data...), nil
}

// PowerOff powers the card off.
func (s *Slot) PowerOff() error {
	_, err := s.exchange(iccPowerOff, 0, nil, slotStatus)
	return err
}

// Parts of an APDU: wLevelParameter of what is sent (§6.1.4) and bChainParameter
// of what comes (§6.2.1) use the same numbers.
const (
	chainWhole = 0x00
	chainBegin = 0x01
	chainEnd   = 0x02
	chainInner = 0x03
	chainMore  = 0x10 // an empty part that asks for the next
)

// Transmit exchanges a command APDU for a response APDU.
func (s *Slot) Transmit(apdu []byte) ([]byte, error) {
	if len(apdu) > MaxAPDU {
		return nil, ErrTooLong
	}
	a, err := s.sendParts(apdu)
	if err != nil {
		return nil, err
	}
	return s.receiveParts(a)
}

// sendParts sends the command and returns the first part of the response.
func (s *Slot) sendParts(apdu []byte) (answer, error) {
	room := s.device.MaxMessage - headerSize
	if len(apdu) <= room {
		return s.exchange(xfrBlock, chainWhole, apdu, dataBlock)
	}
	if !s.device.Extended {
		return answer{}, fmt.Errorf("%w: %d bytes are more than the reader takes", ErrTooLong, len(apdu))
	}
	for level := byte(chainBegin); ; level = chainInner {
		part := apdu[:min(room, len(apdu))]
		if apdu = apdu[len(part):]; len(apdu) == 0 {
			return s.exchange(xfrBlock, chainEnd, part, dataBlock)
		}
		a, err := s.exchange(xfrBlock, level, part, dataBlock)
		if err != nil {
			return answer{}, err
		}
		if a.chains != chainMore || len(a.data) > 0 {
			return answer{}, fmt.Errorf("%w: an answer before the command's end", ErrMalformed)
		}
	}
}

// receiveParts fetches what follows the first part.
func (s *Slot) receiveParts(a answer) ([]byte, error) {
	var response []byte
	first, last := byte(chainBegin), byte(chainWhole)
	for range maxParts {
		if len(response)+len(a.data) > MaxAPDU {
			return nil, ErrTooLong
		}
		response = append(response, a.data...)
		if a.chains == last {
			return response, nil
		}
		if a.chains != first || len(a.data) == 0 || !s.device.Extended {
			return nil, fmt.Errorf("%w: chain %02x", ErrMalformed, a.chains)
		}
		first, last = chainInner, chainEnd
		var err error
		if a, err = s.exchange(xfrBlock, chainMore, nil, dataBlock); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %d parts of one response", ErrBabble, maxParts)
}

// exchange sends one message and waits for its answer, of the kind want. level
// is the low byte of wLevelParameter.
func (s *Slot) exchange(kind, level byte, data []byte, want byte) (answer, error) {
	seq := s.seq
	s.seq++
	m := command(kind, seq, [3]byte{0, level, 0}, data)
	err := s.pipe.Send(m)
	clear(m) // it may hold a PIN
	if err != nil {
		return answer{}, err
	}
	extensions, stale := 0, 0
	for extensions <= maxExtensions && stale <= maxStale {
		a, err := s.receive()
		switch {
		case err != nil:
			return answer{}, err
		case a.seq != seq:
			stale++
		case a.slot != 0:
			return answer{}, fmt.Errorf("%w: slot %d", ErrMalformed, a.slot)
		case a.status&commandMask == commandExtended && len(a.data) == 0:
			extensions++
		default:
			return a, verdict(a, want)
		}
	}
	return answer{}, fmt.Errorf("%w: %d time extensions, %d answers to other commands", ErrBabble, extensions, stale)
}

// verdict is nil for an answer that says the command was done.
func verdict(a answer, want byte) error {
	switch {
	case a.status&commandMask == commandFailed && a.status&cardMask == cardAbsent:
		return ErrNoCard
	case a.status&commandMask == commandFailed:
		return &FailedError{a.code}
	case a.status&commandMask != commandDone, a.kind != want:
		return fmt.Errorf("%w: type %02x, status %02x", ErrMalformed, a.kind, a.status)
	case want == dataBlock && a.status&cardMask != cardActive:
		return fmt.Errorf("%w: data of a card that is off", ErrMalformed)
	}
	return nil
}

// receive reads one message. It comes in one transfer, or, from a device that
// does not end a transfer of whole packets, in several.
func (s *Slot) receive() (answer, error) {
	n := 0
	for range maxEmpty + len(s.incoming)/s.device.PacketSize {
		k, err := s.pipe.Receive(s.incoming[n:])
		if err != nil {
			return answer{}, err
		}
		if k < 0 || k > len(s.incoming)-n {
			return answer{}, fmt.Errorf("%w: %d bytes in a transfer", ErrTooLong, k)
		}
		n += k
		said := length(s.incoming[:n])
		switch {
		case n == 0:
			continue
		case said > uint64(s.device.MaxMessage):
			return answer{}, fmt.Errorf("%w: a message of %d bytes", ErrTooLong, said)
		case said != 0 && said <= uint64(n), k%s.device.PacketSize != 0, k == 0:
			return parse(s.incoming[:n])
		}
	}
	return answer{}, fmt.Errorf("%w: transfers without a message", ErrBabble)
}
