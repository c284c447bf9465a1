package published

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Keyrings lie in repositories under the names of signatures (archive-keyring.gpg,
// KEYS.asc), and are no signatures of files.

// Tags of packets that a transferable public key is made of (RFC 9580 §5, §10.1.1).
const (
	tagSignature = 2
	tagPublicKey = 6
)

var ofKeys = map[byte]bool{tagSignature: true, tagPublicKey: true, 10: true, 12: true, 13: true, 14: true, 17: true, 21: true}

// certificates reports whether a file is OpenPGP public keys and nothing else: a signature
// over a file, or anything that cannot be read, makes it something else.
func certificates(file []byte) bool {
	if bytes.HasPrefix(file, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		return bytes.Count(file, []byte("-----BEGIN ")) == bytes.Count(file, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----"))
	}
	for n := 0; ; n++ {
		tag, body, rest, ok := packet(file)
		switch {
		case len(file) == 0:
			return n > 0
		case !ok, !ofKeys[tag], n == 0 && tag != tagPublicKey, tag == tagSignature && overFile(body):
			return false
		}
		file = rest
	}
}

// overFile reports whether a signature is of type 0x00 or 0x01, or not to be read.
func overFile(body []byte) bool {
	at := 1
	if len(body) > 0 && body[0] == 3 { // RFC 9580 §5.2.2
		at = 2
	}
	return len(body) <= at || body[at] <= 1
}

// packet takes one packet of either format off b (RFC 9580 §4.2). A length that comes in
// parts, or not at all, is none of a key's.
func packet(b []byte) (tag byte, body, rest []byte, ok bool) {
	if len(b) < 2 || b[0]&0x80 == 0 {
		return 0, nil, nil, false
	}
	tag, n, width := b[0]&0x3f, int64(b[1]), 1
	switch old := b[0]&0x40 == 0; {
	case old && b[0]&3 == 3 || !old && n >= 224 && n != 255:
		return 0, nil, nil, false
	case old:
		tag, width = tag>>2, 1<<(b[0]&3)
		n = number(b[1:], width)
	case n == 255:
		n, width = number(b[2:], 4), 5
	case n >= 192:
		n, width = (n-192)<<8+number(b[2:], 1)+192, 2
	}
	if n < 0 || n > int64(len(b)-1-width) {
		return 0, nil, nil, false
	}
	b = b[1+width:]
	return tag, b[:n], b[n:], true
}

// number is that of the first bytes of b, negative if there are not so many.
func number(b []byte, width int) int64 {
	if len(b) < width {
		return math.MinInt64 / 2
	}
	var wide [8]byte
	copy(wide[8-width:], b[:width])
	return int64(binary.BigEndian.Uint64(wide[:]))
}
