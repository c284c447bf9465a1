// Package iso7816 reads and writes what travels between a card reader and a
// card: command APDUs in their short and extended forms (ISO/IEC 7816-3 §12.1),
// command chaining (7816-4 §5.3.3), response chaining by GET RESPONSE (§11.7.1
// with SW1 = 61) and BER-TLV data objects (§8.1).
//
// It is pure: no input can make it panic, allocate more than the bounds in
// limits.go allow, or keep a reference to the caller's bytes beyond the call
// (except where a docstring says that a slice aliases its input).
package iso7816

import "errors"

// SW is a status word: SW1 in the high byte, SW2 in the low one.
type SW uint16

// Status words the emulator answers with (ISO/IEC 7816-4 §5.6, NIST SP 800-73-4
// part 2).
const (
	OK                 SW   = 0x9000
	WrongPIN           SW   = 0x63c0 // low nibble: tries left
	WrongLength        SW   = 0x6700
	NoChannels         SW   = 0x6881
	NotSatisfied       SW   = 0x6982 // not authenticated, or the touch timed out
	Blocked            SW   = 0x6983
	ConditionsNotMet   SW   = 0x6985
	WrongData          SW   = 0x6a80
	NotSupported       SW   = 0x6a81
	NotFound           SW   = 0x6a82
	NoSpace            SW   = 0x6a84
	WrongP1P2          SW   = 0x6b00
	ReferenceNotFound  SW   = 0x6a88
	UnknownInstruction SW   = 0x6d00
	UnknownClass       SW   = 0x6e00
	Aborted            SW   = 0x6f00
	moreData           SW   = 0x6100 // low byte: bytes that wait, 0 for 256 or more
	maxShort                = 256
	maxExtended             = 65536
	classChain         byte = 0x10
	insGetResponse     byte = 0xc0
	extendedMarker     byte = 0x00
	channelBits        byte = 0x03
	interindustryClass byte = 0x00
)

// Command is one command APDU. Data aliases the bytes it was parsed from.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte
	// Le is the number of response bytes the reader can take: 0 when the
	// command carries no Le field.
	Le int
	// Extended tells that Lc or Le was in the extended form.
	Extended bool
}

// ErrMalformed is returned by [Parse] for bytes that are no command APDU.
var ErrMalformed = errors.New("iso7816: malformed command APDU")

// Parse reads one command APDU in any of the seven forms of ISO/IEC 7816-3
// §12.1.3. Every byte must be accounted for.
func Parse(b []byte) (Command, error) {
	if len(b) < 4 || len(b) > MaxCommand {
		return Command{}, ErrMalformed
	}
	c := Command{CLA: b[0], INS: b[1], P1: b[2], P2: b[3]}
	body := b[4:]
	switch {
	case len(body) == 0:
		return c, nil
	case len(body) == 1:
		c.Le = shortLe(body[0])
		return c, nil
	case body[0] != extendedMarker:
		return parseShort(c, body)
	default:
		return parseExtended(c, body)
	}
}

func parseShort(c Command, body []byte) (Command, error) {
	n := int(body[0])
	c.Data = body[1:]
	switch len(c.Data) - n {
	case 0:
		return c, nil
	case 1:
		c.Le = shortLe(c.Data[n])
		c.Data = c.Data[:n]
		return c, nil
	}
	return Command{}, ErrMalformed
}

func parseExtended(c Command, body []byte) (Command, error) {
	if len(body) < 3 {
		return Command{}, ErrMalformed
	}
	c.Extended = true
	n := int(body[1])<<8 | int(body[2])
	if len(body) == 3 {
		c.Le = extendedLe(n)
		return c, nil
	}
	c.Data = body[3:]
	switch len(c.Data) - n {
	case 0:
	case 2:
		c.Le = extendedLe(int(c.Data[n])<<8 | int(c.Data[n+1]))
		c.Data = c.Data[:n]
	default:
		return Command{}, ErrMalformed
	}
	if n == 0 || n > MaxData {
		return Command{}, ErrMalformed
	}
	return c, nil
}

func shortLe(b byte) int {
	if b == 0 {
		return maxShort
	}
	return int(b)
}

func extendedLe(n int) int {
	if n == 0 {
		return maxExtended
	}
	return n
}

// Bytes is the shortest encoding of the command: short unless Extended is set
// or data or Le need the extended form.
func (c Command) Bytes() []byte {
	out := []byte{c.CLA, c.INS, c.P1, c.P2}
	if !c.Extended && len(c.Data) < maxShort && c.Le <= maxShort {
		if len(c.Data) > 0 {
			out = append(append(out, byte(len(c.Data))), c.Data...)
		}
		if c.Le > 0 {
			out = append(out, byte(c.Le))
		}
		return out
	}
	if len(c.Data) == 0 && c.Le == 0 {
		return out
	}
	out = append(out, extendedMarker)
	if len(c.Data) > 0 {
		out = append(append(out, byte(len(c.Data)>>8), byte(len(c.Data))), c.Data...)
	}
	if c.Le > 0 {
		out = append(out, byte(c.Le>>8), byte(c.Le))
	}
	return out
}
