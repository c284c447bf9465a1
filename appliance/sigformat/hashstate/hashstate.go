// Package hashstate is what is left of a file after hashing it: enough to hash more
// bytes behind it, in one encoding that a host sends and the board checks.
// docs/spec/signature.md section 1 draws the bytes.
//
// The package is pure, and what it parses is bounded: a state has at most
// 64 + 8 + 127 bytes, SHA-512's chaining words, the count and the tail. The encoding
// is kept: later versions read what this version wrote.
package hashstate

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"

	"touchmark/hostlink/message"
)

// State is a hash midstate: what is left of a file after hashing it, enough to
// hash more bytes behind it but not to recover it (but for the tail).
//
//	chaining words, big-endian   32 bytes (SHA-256) or 64 bytes (SHA-384, SHA-512)
//	byte count, u64 big-endian   < 2^61 - 4096
//	tail                         exactly count mod block bytes
//
// While count is less than one block the chaining words are the standard
// initial value: otherwise a chosen chaining value could pass as a tiny file.
// States are comparable with ==. The zero State is not valid; Parse and
// Hasher.State make valid ones.
type State struct {
	alg message.Alg
	raw string // canonical bytes, checked
}

// maxCount is the first byte count a hash state may not have. SHA-256 counts bits
// in 64 bits (FIPS 180-4 §5.1.1), so a message has fewer than 2^61 bytes; the 4096
// leave room for the subpackets and the trailer that are hashed after the file.
const maxCount = 1<<61 - 4096

// layout says where Go's marshalled hash state keeps its parts:
// magic ‖ chaining ‖ block padded with zeros ‖ count u64.
type layout struct {
	magic string
	iv    string // FIPS 180-4 §5.3.3 to §5.3.5
	block int
	fresh func() hash.Hash
}

var layouts = map[message.Alg]*layout{
	message.SHA256: {
		magic: "sha\x03",
		iv: "\x6a\x09\xe6\x67\xbb\x67\xae\x85\x3c\x6e\xf3\x72\xa5\x4f\xf5\x3a" +
			"\x51\x0e\x52\x7f\x9b\x05\x68\x8c\x1f\x83\xd9\xab\x5b\xe0\xcd\x19",
		block: sha256.BlockSize,
		fresh: sha256.New,
	},
	message.SHA384: {
		magic: "sha\x04",
		iv: "\xcb\xbb\x9d\x5d\xc1\x05\x9e\xd8\x62\x9a\x29\x2a\x36\x7c\xd5\x07" +
			"\x91\x59\x01\x5a\x30\x70\xdd\x17\x15\x2f\xec\xd8\xf7\x0e\x59\x39" +
			"\x67\x33\x26\x67\xff\xc0\x0b\x31\x8e\xb4\x4a\x87\x68\x58\x15\x11" +
			"\xdb\x0c\x2e\x0d\x64\xf9\x8f\xa7\x47\xb5\x48\x1d\xbe\xfa\x4f\xa4",
		block: sha512.BlockSize,
		fresh: sha512.New384,
	},
	message.SHA512: {
		magic: "sha\x07",
		iv: "\x6a\x09\xe6\x67\xf3\xbc\xc9\x08\xbb\x67\xae\x85\x84\xca\xa7\x3b" +
			"\x3c\x6e\xf3\x72\xfe\x94\xf8\x2b\xa5\x4f\xf5\x3a\x5f\x1d\x36\xf1" +
			"\x51\x0e\x52\x7f\xad\xe6\x82\xd1\x9b\x05\x68\x8c\x2b\x3e\x6c\x1f" +
			"\x1f\x83\xd9\xab\xfb\x41\xbd\x6b\x5b\xe0\xcd\x19\x13\x7e\x21\x79",
		block: sha512.BlockSize,
		fresh: sha512.New,
	},
}

// Problem names a way in which bytes are no hash state, as
// docs/spec/signature.md section 1 does.
type Problem string

// The problems, in the order in which a state is judged.
const (
	Length  Problem = "length"        // too short for chaining words and count
	Count   Problem = "count"         // 2^61 - 4096 or more bytes
	Tail    Problem = "tail"          // not count mod block bytes
	Initial Problem = "initial-value" // less than one block, but another start than the standard's
)

var problemText = map[Problem]string{
	Length:  "too short",
	Count:   "byte count out of range",
	Tail:    "tail length does not match the byte count",
	Initial: "less than one block, but not the standard initial value",
}

// Error refuses a hash state.
type Error struct {
	Problem Problem
	Alg     message.Alg
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s hash state: %s", e.Alg, problemText[e.Problem])
}

// Parse checks b as a hash state of alg, which must be valid. The bytes may
// come from anyone. The error is a *[Error].
func Parse(alg message.Alg, b []byte) (State, error) {
	l := layouts[alg]
	if l == nil {
		panic("hashstate: Parse of unknown algorithm " + string(alg))
	}
	if problem := l.judge(b); problem != "" {
		return State{}, &Error{problem, alg}
	}
	return State{alg: alg, raw: string(b)}, nil
}

// judge says what keeps b from being a state, "" if nothing does.
func (l *layout) judge(b []byte) Problem {
	head := len(l.iv) + 8
	if len(b) < head {
		return Length
	}
	count := binary.BigEndian.Uint64(b[len(l.iv):])
	switch {
	case count >= maxCount:
		return Count
	case uint64(len(b)-head) != count%uint64(l.block):
		return Tail
	case count < uint64(l.block) && string(b[:len(l.iv)]) != l.iv:
		return Initial
	}
	return ""
}

// Bytes returns the canonical encoding that Parse reads.
func (s State) Bytes() []byte { return []byte(s.raw) }

// Alg returns the hash algorithm.
func (s State) Alg() message.Alg { return s.alg }

// Count returns how many bytes were hashed.
func (s State) Count() uint64 {
	l := layouts[s.alg]
	if l == nil {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(s.raw[len(l.iv) : len(l.iv)+8]))
}

// Digest returns the plain digest of the bytes hashed so far, or nil for the
// zero State.
func (s State) Digest() []byte {
	if layouts[s.alg] == nil {
		return nil
	}
	return s.Hash().Sum(nil)
}

// Hash returns a running hash positioned after the data. It panics on the zero
// State.
func (s State) Hash() hash.Hash {
	l := layouts[s.alg]
	if l == nil {
		panic("hashstate: Hash of the zero State")
	}
	n := len(l.iv)
	b := make([]byte, 0, len(l.magic)+n+l.block+8)
	b = append(b, l.magic...)
	b = append(b, s.raw[:n]...)
	b = append(b, s.raw[n+8:]...)
	b = append(b, make([]byte, l.block-(len(s.raw)-n-8))...)
	b = append(b, s.raw[n:n+8]...)
	h := l.fresh()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		panic("hashstate: this Go release changed its hash state encoding: " + err.Error())
	}
	return h
}

// Hasher hashes a file and gives its State. It is an io.Writer and, like any
// hash, not for concurrent use.
type Hasher struct {
	alg message.Alg
	h   hash.Hash
}

// New returns a Hasher for a valid algorithm; it panics on another one.
func New(alg message.Alg) *Hasher {
	l := layouts[alg]
	if l == nil {
		panic("hashstate: New of unknown algorithm " + string(alg))
	}
	return &Hasher{alg: alg, h: l.fresh()}
}

// Write adds p to the hashed data; it never fails.
func (h *Hasher) Write(p []byte) (int, error) { return h.h.Write(p) }

// State returns the state after everything written so far; writing can go on.
func (h *Hasher) State() State {
	l := layouts[h.alg]
	b, err := h.h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil || len(b) != len(l.magic)+len(l.iv)+l.block+8 || string(b[:len(l.magic)]) != l.magic {
		panic("hashstate: this Go release changed its hash state encoding")
	}
	b = b[len(l.magic):]
	chain, tail, count := b[:len(l.iv)], b[len(l.iv):len(l.iv)+l.block], b[len(l.iv)+l.block:]
	tail = tail[:binary.BigEndian.Uint64(count)%uint64(l.block)]
	return State{alg: h.alg, raw: string(chain) + string(count) + string(tail)}
}
