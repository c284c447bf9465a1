// Package packet writes and reads the parts that OpenPGP version 4 is made of (RFC 9580):
// packets, integers, subpackets, times. It writes each in one form only, old-format
// headers and shortest lengths, which every OpenPGP consumer reads, libalpm's
// hand-written parser included; and it reads that form only, but for First.
//
// The package is pure. The parts that it cuts are parts of what it was given, not copies.
package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Packet tags (RFC 9580 §5) of the profile.
const (
	TagSignature = 2
	TagPublicKey = 6
	TagUserID    = 13
	TagSubkey    = 14
)

// Subpacket types (RFC 9580 §5.2.3.7) of the profile.
const (
	SubCreated     = 2
	SubExpires     = 9
	SubCiphers     = 11
	SubIssuer      = 16
	SubNotation    = 20
	SubHashes      = 21
	SubCompression = 22
	SubKeyFlags    = 27
	SubReason      = 29
	SubFeatures    = 30
	SubFingerprint = 33
)

// minTime is the earliest time that is written into the four-byte field (RFC 9580
// §3.5): 2020. The latest is what the field holds, in 2106.
const minTime = 1577836800 // 2020-01-01T00:00:00Z

// Err is what is said here of bytes that do not begin with what is to be cut off them.
var Err = errors.New("not a packet of the expected kind and size")

// Append adds an old-format packet (RFC 9580 §4.2.2) with the shortest
// length field; bodies are always shorter than 64 KiB.
func Append(b []byte, tag byte, body []byte) []byte {
	if len(body) < 256 {
		b = append(b, 0x80|tag<<2, byte(len(body)))
	} else {
		b = append(b, 0x80|tag<<2|1)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	}
	return append(b, body...)
}

// Cut takes one packet of the given tag from b, in the form that
// Append writes.
func Cut(b []byte, tag byte) (body, rest []byte, err error) {
	if len(b) < 3 {
		return nil, nil, Err
	}
	var n, head int
	switch b[0] {
	case 0x80 | tag<<2:
		n, head = int(b[1]), 2
	case 0x80 | tag<<2 | 1:
		n, head = int(binary.BigEndian.Uint16(b[1:])), 3
		if n < 256 {
			return nil, nil, Err
		}
	default:
		return nil, nil, Err
	}
	if len(b) < head+n {
		return nil, nil, Err
	}
	return b[head : head+n], b[head+n:], nil
}

// Take takes one whole packet of the given tag, nil if b begins with none.
func Take(b []byte, tag byte) (packet, rest []byte) {
	_, rest, err := Cut(b, tag)
	if err != nil {
		return nil, b
	}
	return b[:len(b)-len(rest)], rest
}

// First is the body of the first packet, which must be of this tag, in either packet
// format (RFC 9580 §4.2).
func First(b []byte, tag byte) ([]byte, error) {
	if body, _, err := Cut(b, tag); err == nil {
		return body, nil
	}
	if len(b) < 2 || b[0] != 0xc0|tag {
		return nil, Err
	}
	n, head := int(b[1]), 2
	if n >= 192 && n < 224 && len(b) > 2 {
		n, head = (n-192)<<8+int(b[2])+192, 3
	}
	if b[1] >= 224 || len(b) < head+n {
		return nil, Err
	}
	return b[head : head+n], nil
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

// CutMPI takes one normalised integer of 1 to max bytes.
func CutMPI(b []byte, max int) (value, rest []byte, err error) {
	if len(b) < 3 {
		return nil, nil, Err
	}
	n := int(binary.BigEndian.Uint16(b))
	size := (n + 7) / 8
	if size == 0 || size > max || len(b) < 2+size || bits.Len8(b[2]) != n-(size-1)*8 {
		return nil, nil, errors.New("integer is not normalised or out of range")
	}
	return b[2 : 2+size], b[2+size:], nil
}

// AppendSubpacket adds a signature subpacket (RFC 9580 §5.2.3.7), never
// critical, with the shortest length.
func AppendSubpacket(b []byte, kind byte, body ...byte) []byte {
	n := len(body) + 1
	if n < 192 {
		b = append(b, byte(n))
	} else {
		b = append(b, byte((n-192)>>8)+192, byte(n-192))
	}
	b = append(b, kind)
	return append(b, body...)
}

// CutSubpacket takes one subpacket of the given kind in the form that
// AppendSubpacket writes.
func CutSubpacket(b []byte, kind byte) (body, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, Err
	}
	n, head := int(b[0]), 1
	if b[0] >= 192 {
		n, head = (int(b[0])-192)<<8+int(b[1])+192, 2
	}
	if b[0] >= 224 || n < 1 || len(b) < head+n || b[head] != kind {
		return nil, nil, Err
	}
	return b[head+1 : head+n], b[head+n:], nil
}

// CutArea takes a two-byte length and that many bytes.
func CutArea(b []byte) (area, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, Err
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, Err
	}
	return b[2 : 2+n], b[2+n:], nil
}

// Time encodes a time (RFC 9580 §3.5). One that is not in whole seconds, or not of the
// years 2020 to 2105, is an error.
func Time(t time.Time) ([]byte, error) {
	if t.Nanosecond() != 0 || t.Unix() < minTime || t.Unix() > math.MaxUint32 {
		return nil, fmt.Errorf("time %s is not in whole seconds of the years 2020 to 2105", t.UTC().Format(time.RFC3339Nano))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(t.Unix())), nil
}
