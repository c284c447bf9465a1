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
	"errors"
	"fmt"
	"hash/crc32"
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

// Errors of decoding one frame. They never leave the link: a bad frame is
// counted in [Stats], dropped, and sent again by the peer's session.
var (
	ErrCOBS   = errors.New("frame: bad byte stuffing")
	ErrShort  = errors.New("frame: shorter than header and checksum")
	ErrCRC    = errors.New("frame: checksum mismatch")
	ErrHeader = errors.New("frame: header or payload length not allowed for this type")
)

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

// Check reports whether f obeys the rules of its type: known type, payload
// length, and zero in the fields that the type does not use.
func (f *Frame) Check() error {
	least, most, ok := payloadBounds(f.Type)
	if !ok || len(f.Payload) < least || len(f.Payload) > most {
		return ErrHeader
	}
	switch f.Type {
	case TypeSyn:
		ok = f.SID == 0 && f.Seq == 0 && f.Ack == 0
	case TypeAccept:
		ok = f.SID != 0 && f.Seq == 0 && f.Ack == 0
	case TypeReset:
		ok = f.Seq == 0 && f.Ack == 0
	case TypeAck, TypePing, TypePong:
		ok = f.SID != 0 && f.Seq == 0
	default:
		ok = f.SID != 0
	}
	if !ok {
		return ErrHeader
	}
	return nil
}

// Append appends the wire form of f, delimiter included, to dst. It panics on a
// frame that fails [Frame.Check]: that is a bug of the caller, never input.
func Append(dst []byte, f *Frame) []byte {
	if err := f.Check(); err != nil {
		panic(fmt.Sprintf("frame: cannot encode %v with %d payload bytes: %v", f.Type, len(f.Payload), err))
	}
	var raw [MaxRaw]byte
	raw[0] = byte(f.Type)
	binary.BigEndian.PutUint32(raw[1:], f.SID)
	binary.BigEndian.PutUint16(raw[5:], f.Seq)
	binary.BigEndian.PutUint16(raw[7:], f.Ack)
	n := headerSize + copy(raw[headerSize:], f.Payload)
	binary.BigEndian.PutUint32(raw[n:], crc32.Checksum(raw[:n], castagnoli))
	return append(appendCOBS(dst, raw[:n+crcSize]), Delimiter)
}

// parse reads the unstuffed bytes of one frame. The payload aliases raw.
func parse(raw []byte) (Frame, error) {
	if len(raw) < headerSize+crcSize {
		return Frame{}, ErrShort
	}
	body := raw[:len(raw)-crcSize]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[len(body):]) {
		return Frame{}, ErrCRC
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
