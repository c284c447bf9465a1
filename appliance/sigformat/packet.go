package sigformat

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Packet tags (RFC 9580 §5).
const (
	tagSignature = 2
	tagPublicKey = 6
	tagUserID    = 13
	tagSubkey    = 14
)

var errPacket = errors.New("not a packet of the expected kind and size")

// appendPacket adds an old-format packet (RFC 9580 §4.2.2) with the shortest
// length field; bodies are always shorter than 64 KiB.
func appendPacket(b []byte, tag byte, body []byte) []byte {
	if len(body) < 256 {
		b = append(b, 0x80|tag<<2, byte(len(body)))
	} else {
		b = append(b, 0x80|tag<<2|1)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	}
	return append(b, body...)
}

// cutPacket takes one packet of the given tag from b, in the form that
// appendPacket writes.
func cutPacket(b []byte, tag byte) (body, rest []byte, err error) {
	if len(b) < 3 {
		return nil, nil, errPacket
	}
	var n, head int
	switch b[0] {
	case 0x80 | tag<<2:
		n, head = int(b[1]), 2
	case 0x80 | tag<<2 | 1:
		n, head = int(binary.BigEndian.Uint16(b[1:])), 3
		if n < 256 {
			return nil, nil, errPacket
		}
	default:
		return nil, nil, errPacket
	}
	if len(b) < head+n {
		return nil, nil, errPacket
	}
	return b[head : head+n], b[head+n:], nil
}

// takePacket takes one whole packet of the given tag, nil if b begins with none.
func takePacket(b []byte, tag byte) (packet, rest []byte) {
	_, rest, err := cutPacket(b, tag)
	if err != nil {
		return nil, b
	}
	return b[:len(b)-len(rest)], rest
}

// AppendMPI adds an unsigned integer (RFC 9580 §3.2): bit count, then the
// bytes without leading zeros. Tokens return numbers padded; normalising here
// is what makes them readable for gpg.
func AppendMPI(b, value []byte) []byte {
	for len(value) > 0 && value[0] == 0 {
		value = value[1:]
	}
	n := 0
	if len(value) > 0 {
		n = (len(value)-1)*8 + bits.Len8(value[0])
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return append(b, value...)
}

// cutMPI takes one normalised integer of 1 to max bytes.
func cutMPI(b []byte, max int) (value, rest []byte, err error) {
	if len(b) < 3 {
		return nil, nil, errPacket
	}
	n := int(binary.BigEndian.Uint16(b))
	size := (n + 7) / 8
	if size == 0 || size > max || len(b) < 2+size || bits.Len8(b[2]) != n-(size-1)*8 {
		return nil, nil, errors.New("integer is not normalised or out of range")
	}
	return b[2 : 2+size], b[2+size:], nil
}

// appendSubpacket adds a signature subpacket (RFC 9580 §5.2.3.7), never
// critical, with the shortest length.
func appendSubpacket(b []byte, kind byte, body ...byte) []byte {
	n := len(body) + 1
	if n < 192 {
		b = append(b, byte(n))
	} else {
		b = append(b, byte((n-192)>>8)+192, byte(n-192))
	}
	b = append(b, kind)
	return append(b, body...)
}

// cutSubpacket takes one subpacket of the given kind in the form that
// appendSubpacket writes.
func cutSubpacket(b []byte, kind byte) (body, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errPacket
	}
	n, head := int(b[0]), 1
	if b[0] >= 192 {
		n, head = (int(b[0])-192)<<8+int(b[1])+192, 2
	}
	if b[0] >= 224 || n < 1 || len(b) < head+n || b[head] != kind {
		return nil, nil, errPacket
	}
	return b[head+1 : head+n], b[head+n:], nil
}

// cutArea takes a two-byte length and that many bytes.
func cutArea(b []byte) (area, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errPacket
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, errPacket
	}
	return b[2 : 2+n], b[2+n:], nil
}
