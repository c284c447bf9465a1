// Package frame is the lowest layer of the Touchmark link: it turns frames into
// bytes of a serial line and back.
//
// # Format
//
// A frame before stuffing is (big-endian):
//
//	 0      1           5       7       9                9+n       13+n
//	┌──────┬───────────┬───────┬───────┬────────────────┬─────────┐
//	│ type │    sid    │  seq  │  ack  │ payload, n     │ crc32c  │
//	│  u8  │    u32    │  u16  │  u16  │ ≤ 4096 bytes   │   u32   │
//	└──────┴───────────┴───────┴───────┴────────────────┴─────────┘
//
// The CRC (Castagnoli, RFC 3720 §B.4) covers everything before it. The whole is
// stuffed with COBS (Cheshire and Baker, 1999), so that it holds no zero byte,
// and ended by one zero byte. docs/spec/frame.md is the authority.
//
// # Guarantees
//
// The decoder holds one bounded buffer whatever the line carries, allocates
// nothing, and after any garbage finds the next frame at the next zero byte.
// It accepts exactly the bytes that [Append] makes: decoding then encoding is
// the identity. The package is pure: no clock, no goroutine, no input or output.
//
// # Compatibility
//
// The layout is that of link version 1 (the version travels in SYN and ACCEPT).
// A type, flag or payload length not listed here is refused.
package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// Type is the first byte of a frame. Exactly ten values are legal.
type Type uint8

// The frame types. TypeData is or-ed with any of [FlagLast] and [FlagBulk].
const (
	TypeSyn    Type = 0x01 // initiator opens: version u8, nonce 8 bytes
	TypeAccept Type = 0x02 // responder answers: version u8, nonce 8 bytes
	TypeAck    Type = 0x03 // acknowledgement alone; optional flags u8 and bitmap
	TypePing   Type = 0x04 // asks for a PONG
	TypePong   Type = 0x05 // answers a PING
	TypeReset  Type = 0x06 // this session does not exist (any more): reason u8
	TypeData   Type = 0x10 // one fragment of a message
)

// The flags of a DATA frame.
const (
	FlagLast Type = 0x01 // the last fragment of its message
	FlagBulk Type = 0x02 // channel 1 (bulk) instead of 0 (interactive)
)

// AckHold in the first payload byte of an ACK asks the peer to send nothing new.
const AckHold = 0x01

// IsData reports whether t is TypeData with any flags.
func (t Type) IsData() bool { return t&^(FlagLast|FlagBulk) == TypeData }

// String names the type as the specification does.
func (t Type) String() string {
	if t.IsData() {
		return "DATA"
	}
	switch t {
	case TypeSyn:
		return "SYN"
	case TypeAccept:
		return "ACCEPT"
	case TypeAck:
		return "ACK"
	case TypePing:
		return "PING"
	case TypePong:
		return "PONG"
	case TypeReset:
		return "RESET"
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}

// Frame is one unit of the link.
type Frame struct {
	Type    Type
	SID     uint32 // session id; 0 only in SYN and in RESET
	Seq     uint16 // DATA: its number; else 0
	Ack     uint16 // next DATA number expected; 0 in SYN, ACCEPT, RESET
	Payload []byte // at most MaxPayload bytes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// payloadBounds gives the least and greatest payload length of a type.
func payloadBounds(t Type) (least, most int, ok bool) {
	if t.IsData() {
		return 1, MaxPayload, true
	}
	switch t {
	case TypeSyn, TypeAccept:
		return HelloPayload, HelloPayload, true
	case TypeAck:
		return 0, MaxAckPayload, true
	case TypePing, TypePong:
		return 0, 0, true
	case TypeReset:
		return 1, 1, true
	}
	return 0, 0, false
}

// Check reports whether f obeys the rules of its type: [ErrType], [ErrLength] or
// [ErrField] otherwise.
func (f *Frame) Check() error {
	least, most, ok := payloadBounds(f.Type)
	switch {
	case !ok:
		return ErrType
	case len(f.Payload) < least || len(f.Payload) > most:
		return ErrLength
	case !f.fieldsUsed() || !f.payloadSpelled():
		return ErrField
	}
	return nil
}

// fieldsUsed reports whether the fields that the type does not use are zero, and
// the session id is not where one must be.
func (f *Frame) fieldsUsed() bool {
	switch f.Type {
	case TypeSyn:
		return f.SID == 0 && f.Seq == 0 && f.Ack == 0
	case TypeAccept:
		return f.SID != 0 && f.Seq == 0 && f.Ack == 0
	case TypeReset:
		return f.Seq == 0 && f.Ack == 0
	case TypeAck, TypePing, TypePong:
		return f.SID != 0 && f.Seq == 0
	}
	return f.SID != 0
}

// payloadSpelled reports whether a payload that has a form is in its one
// spelling: a version is not 0, an ACK has no unknown flag and no zero byte at
// the end of its bitmap, and does not say nothing in a byte.
func (f *Frame) payloadSpelled() bool {
	switch p := f.Payload; {
	case f.Type == TypeSyn || f.Type == TypeAccept:
		return p[0] != 0
	case f.Type == TypeAck && len(p) > 0:
		return p[0]&^AckHold == 0 && p[len(p)-1] != 0
	}
	return true
}

// Append appends the wire form of f, delimiter included, to dst. It panics on a
// frame that fails [Frame.Check]: that is a bug of the caller, never input.
func Append(dst []byte, f *Frame) []byte {
	if err := f.Check(); err != nil {
		panic(fmt.Sprintf("frame: cannot encode %v with %d payload bytes: %v", f.Type, len(f.Payload), err))
	}
	// The raw frame is made behind the place of its stuffed form and stuffed
	// towards it: so far behind that the writing never overtakes the reading.
	const behind = MaxEncoded - MaxRaw + 1
	dst = slices.Grow(dst, behind+headerSize+len(f.Payload)+crcSize)
	raw := appendRaw(dst[:len(dst)+behind][len(dst)+behind:], f)
	return append(appendCOBS(dst, raw), Delimiter)
}

// appendRaw appends the bytes of a frame before stuffing, checksum included.
func appendRaw(raw []byte, f *Frame) []byte {
	raw = append(raw, byte(f.Type))
	raw = binary.BigEndian.AppendUint32(raw, f.SID)
	raw = binary.BigEndian.AppendUint16(raw, f.Seq)
	raw = binary.BigEndian.AppendUint16(raw, f.Ack)
	raw = append(raw, f.Payload...)
	return binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
}

// parse reads the unstuffed bytes of one frame. The payload aliases raw.
func parse(raw []byte) (Frame, error) {
	if len(raw) < headerSize+crcSize {
		return Frame{}, ErrShort
	}
	body := raw[:len(raw)-crcSize]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[len(body):]) {
		return Frame{}, ErrChecksum
	}
	f := Frame{
		Type:    Type(body[0]),
		SID:     binary.BigEndian.Uint32(body[1:]),
		Seq:     binary.BigEndian.Uint16(body[5:]),
		Ack:     binary.BigEndian.Uint16(body[7:]),
		Payload: body[headerSize:],
	}
	return f, f.Check()
}
