package frame

import "bytes"

// Decoder finds frames in a byte stream. The zero value is ready. It is not
// safe for use by several goroutines at once.
type Decoder struct {
	buf   [MaxEncoded]byte
	n     int  // bytes of buf in use
	long  bool // the present piece overran buf: skip to its end
	stats Stats
}

// Feed consumes input up to the end of the next valid frame and returns it with
// the count of bytes consumed; ok is false when all of p was consumed without
// one. The payload of f is valid until the next call. Bad frames are counted
// and skipped; zero bytes in a row are nothing at all.
func (d *Decoder) Feed(p []byte) (f Frame, consumed int, ok bool) {
	for consumed < len(p) {
		rest := p[consumed:]
		end := bytes.IndexByte(rest, Delimiter)
		if end < 0 {
			d.store(rest)
			return Frame{}, len(p), false
		}
		d.store(rest[:end])
		consumed += end + 1
		if f, ok = d.finish(); ok {
			return f, consumed, true
		}
	}
	return Frame{}, consumed, false
}

// Stats returns the counts so far.
func (d *Decoder) Stats() Stats { return d.stats }

// store keeps p behind what is there, or notes that the piece is too long to be
// a frame.
func (d *Decoder) store(p []byte) {
	if d.long || len(p) > len(d.buf)-d.n {
		d.long = true
		return
	}
	d.n += copy(d.buf[d.n:], p)
}

// finish judges the piece between two delimiters.
func (d *Decoder) finish() (Frame, bool) {
	piece, long := d.buf[:d.n], d.long
	d.n, d.long = 0, false
	if len(piece) == 0 && !long {
		return Frame{}, false
	}
	f, err := decodePiece(piece, long)
	if err != nil {
		d.stats.Bad[err.(Error)]++
		return Frame{}, false
	}
	d.stats.Frames++
	return f, true
}

// decodePiece reads what stood between two delimiters, in place. Every error is
// an [Error].
func decodePiece(piece []byte, long bool) (Frame, error) {
	if long {
		return Frame{}, ErrLong
	}
	raw, err := decodeCOBS(piece)
	if err != nil {
		return Frame{}, err
	}
	return parse(raw)
}
