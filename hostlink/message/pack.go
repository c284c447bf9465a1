package message

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"

	"touchmark/hostlink/message/canon"
)

// packed is the first byte of a packed message. No text begins with it.
const packed = 0x01

// minPack is the size from which packing is tried: below it, what is saved is
// less than the time it takes.
const minPack = 100

// Packer packs messages from board to host: the byte 01, then the text in raw
// DEFLATE (RFC 1951). Log entries are mostly hex and base64, so a slow line
// carries a third more of them. Nothing packed ever goes the other way: the
// board parses what hosts send as it is.
//
// A Packer serves one goroutine.
type Packer struct {
	out bytes.Buffer
	w   *flate.Writer
}

// NewPacker makes a Packer.
func NewPacker() *Packer {
	w, err := flate.NewWriter(nil, flate.BestSpeed) // half the time of the default level, for some 2 % of the bytes
	if err != nil {
		panic(err) // the level is a constant
	}
	return &Packer{w: w}
}

// Pack gives the packed form of a message where that is shorter, else the
// message.
func (p *Packer) Pack(msg []byte) []byte {
	if len(msg) < minPack {
		return msg
	}
	p.out.Reset()
	p.out.WriteByte(packed)
	p.w.Reset(&p.out)
	_, err := p.w.Write(msg)
	if err == nil {
		err = p.w.Close()
	}
	if err != nil || p.out.Len() >= len(msg) {
		return msg
	}
	return bytes.Clone(p.out.Bytes())
}

// Unpacker undoes what a Packer did. It serves one goroutine.
type Unpacker struct {
	in   bytes.Reader
	from io.Reader // a flate.Resetter too
}

// NewUnpacker makes an Unpacker.
func NewUnpacker() *Unpacker { return &Unpacker{from: flate.NewReader(nil)} }

// Unpack undoes Pack; what is not packed is given as it is. It refuses a
// message that unpacks to more than MaxMessage bytes (TooLong), that ends early
// (CutOff), that goes on after its end (Surplus) or that is no DEFLATE
// (BadValue), with a *canon.Error.
func (u *Unpacker) Unpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packed {
		return b, nil
	}
	u.in.Reset(b[1:])
	err := u.from.(flate.Resetter).Reset(&u.in, nil)
	var msg []byte
	if err == nil {
		msg, err = io.ReadAll(io.LimitReader(u.from, MaxMessage+1))
	}
	refuse := func(p canon.Problem, format string, a ...any) ([]byte, error) {
		return nil, &canon.Error{Problem: p, Domain: anyMessage, Line: 1, Reason: "packed: " + fmt.Sprintf(format, a...)}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(canon.CutOff, "it ends early")
	case err != nil:
		return refuse(canon.BadValue, "%v", err)
	case len(msg) > MaxMessage:
		return refuse(canon.TooLong, "more than %d bytes", MaxMessage)
	case u.in.Len() > 0:
		return refuse(canon.Surplus, "%d bytes behind its end", u.in.Len())
	}
	return msg, nil
}
