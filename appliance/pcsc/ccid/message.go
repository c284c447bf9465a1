package ccid

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const headerSize = 10

// Types of messages (§6.1, §6.2).
const (
	iccPowerOn  = 0x62
	iccPowerOff = 0x63
	xfrBlock    = 0x6f
	dataBlock   = 0x80
	slotStatus  = 0x81
)

// bStatus (§6.2.6): the state of the card, and what became of the command.
const (
	cardMask     = 0x03
	cardActive   = 0x00
	cardInactive = 0x01
	cardAbsent   = 0x02

	commandMask     = 0xc0
	commandDone     = 0x00
	commandFailed   = 0x40
	commandExtended = 0x80
)

// Errors of a device that breaks the protocol. All of them end the exchange,
// and the card must be powered off and on.
var (
	// ErrMalformed means that what came is no message, or not one that may come here.
	ErrMalformed = errors.New("ccid: malformed message from the reader")
	// ErrBabble means too many messages that are no answer.
	ErrBabble = errors.New("ccid: the reader sends without end")
	// ErrTooLong means a response longer than [MaxAPDU], or a message longer than agreed.
	ErrTooLong = errors.New("ccid: the reader sends too much")
	// ErrNoCard means that the reader is empty.
	ErrNoCard = errors.New("ccid: no card in the reader")
)

// FailedError is a command that the reader reports as failed; Code is bError
// (§6.2.6 table 6.2-2).
type FailedError struct{ Code byte }

func (e *FailedError) Error() string {
	if text, ok := failures[e.Code]; ok {
		return "ccid: " + text
	}
	return fmt.Sprintf("ccid: the reader reports error %02x", e.Code)
}

const codeMute = 0xfe

var failures = map[byte]string{
	0xff:     "the command was aborted",
	codeMute: "the card does not answer",
	0xfd:     "parity error between reader and card",
	0xfc:     "overrun between reader and card",
	0xfb:     "hardware error of the reader",
	0xf8:     "bad answer to reset",
	0xf7:     "bad check byte in the answer to reset",
	0xf6:     "the reader does not know the card's protocol",
	0xe0:     "the slot is busy",
	0x00:     "the reader does not know the command",
}

// command is a message to the reader. The three bytes after seq are given in
// order.
func command(kind, seq byte, three [3]byte, data []byte) []byte {
	m := make([]byte, headerSize, headerSize+len(data))
	m[0], m[6] = kind, seq
	binary.LittleEndian.PutUint32(m[1:], uint32(len(data)))
	copy(m[7:], three[:])
	return append(m, data...)
}

// answer is a message from the reader. data aliases what it was parsed from.
type answer struct {
	kind, slot, seq      byte
	status, code, chains byte
	data                 []byte
}

// length is how long the message that begins with b says it is, with its
// header; 0 as long as the header is not whole. It does not wrap.
func length(b []byte) uint64 {
	if len(b) < headerSize {
		return 0
	}
	return headerSize + uint64(binary.LittleEndian.Uint32(b[1:]))
}

// parse reads a whole message.
func parse(b []byte) (answer, error) {
	if len(b) < headerSize || length(b) != uint64(len(b)) {
		return answer{}, fmt.Errorf("%w: %d bytes, and it says otherwise", ErrMalformed, len(b))
	}
	a := answer{b[0], b[5], b[6], b[7], b[8], b[9], b[headerSize:]}
	if a.kind != dataBlock && a.kind != slotStatus {
		return answer{}, fmt.Errorf("%w: type %02x", ErrMalformed, a.kind)
	}
	if a.kind == slotStatus && len(a.data) > 0 {
		return answer{}, fmt.Errorf("%w: a status with %d bytes of data", ErrMalformed, len(a.data))
	}
	if a.status&^(cardMask|commandMask) != 0 || a.status&cardMask > cardAbsent || a.status&commandMask > commandExtended {
		return answer{}, fmt.Errorf("%w: status %02x", ErrMalformed, a.status)
	}
	return a, nil
}
