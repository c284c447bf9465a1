package segment

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"touchmark/tpm/ledgerstore/durable"
)

// Scanner reads append after append.
type Scanner struct {
	log     *Log
	pos     int64 // where the next append begins
	current int   // its segment
	in      *bufio.Reader
	left    int64 // bytes of the segment from pos on
	group   Group
}

// Scan reads from a position on.
func (l *Log) Scan(pos int64) *Scanner {
	return &Scanner{log: l, pos: pos, current: l.locate(pos)}
}

// Pos is where the next append begins.
func (c *Scanner) Pos() int64 { return c.pos }

// Damaged is the answer to something there that is none.
func (c *Scanner) Damaged(reason string) *CorruptError {
	return Damaged(c.path(), c.pos-c.log.files[c.current].start, reason)
}

func (c *Scanner) path() string { return Path(c.log.dir, c.log.files[c.current].start) }

// enter begins to read the current segment at pos.
func (c *Scanner) enter() error {
	f := c.log.files[c.current]
	size, err := f.Size()
	if err != nil {
		return durable.Error("read", c.path(), err)
	}
	at := c.pos - f.start
	c.left = max(size-at, 0)
	c.in = bufio.NewReaderSize(io.NewSectionReader(f, at, c.left), int(min(c.left, readAhead)))
	return nil
}

// Next reads the next append, nil at the end of the log; torn says that what
// stands there is none. What it returns is the caller's until the next call,
// the payloads for longer.
func (c *Scanner) Next() (g *Group, torn bool, err error) {
	if c.in == nil {
		if err := c.enter(); err != nil {
			return nil, false, err
		}
	}
	for c.left == 0 {
		if c.current == len(c.log.files)-1 {
			return nil, false, nil
		}
		c.current++
		if c.log.files[c.current].start != c.pos {
			return nil, false, Damaged(c.path(), 0, fmt.Sprintf("it follows %d bytes of log", c.pos))
		}
		if err := c.enter(); err != nil {
			return nil, false, err
		}
	}
	whole, err := c.read()
	if err != nil {
		return nil, false, durable.Error("read", c.path(), err)
	}
	if !whole {
		return nil, true, nil
	}
	c.left -= c.group.End - c.pos
	c.pos = c.group.End
	return &c.group, false, nil
}

// read reads one append into group. whole is false when what stands there is
// none.
func (c *Scanner) read() (whole bool, err error) {
	g := &c.group
	g.Records, g.At, g.End = g.Records[:0], g.At[:0], c.pos
	for g.End-c.pos <= MaxAppend {
		r, n, ok, err := readRecord(c.in)
		if err != nil || !ok || r.First != (len(g.Records) == 0) {
			return false, err
		}
		g.Records, g.At = append(g.Records, r), append(g.At, g.End)
		g.End += int64(n)
		if r.Last {
			return true, nil
		}
	}
	return false, nil
}

func readRecord(in *bufio.Reader) (r Record, size int, ok bool, err error) {
	b := make([]byte, HeaderSize, HeaderSize+2048)
	if _, err := io.ReadFull(in, b); err != nil {
		return Record{}, 0, false, unlessEnd(err)
	}
	_, n, ok := parseHeader(b)
	if !ok {
		return Record{}, 0, false, nil
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(in, b[HeaderSize:]); err != nil {
		return Record{}, 0, false, unlessEnd(err)
	}
	r, size, ok = parseRecord(b)
	return r, size, ok, nil
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// DropTorn cuts off the incomplete append at which Next stopped, if it is the
// last thing in the log and could be what a crash left.
func (c *Scanner) DropTorn() error {
	f := c.log.files[c.current]
	at := c.pos - f.start
	if c.current != len(c.log.files)-1 {
		return c.Damaged("an incomplete record before the end of the log")
	}
	if c.left > MaxAppend {
		return c.Damaged("a damaged record, and more behind it than one append writes")
	}
	tail := make([]byte, c.left)
	if _, err := f.ReadAt(tail, at); err != nil {
		return durable.Error("read", c.path(), err)
	}
	if laterAppend(tail) {
		return c.Damaged("a damaged record, and a later append behind it")
	}
	return durable.Error("truncate", c.path(), f.Truncate(at))
}

// laterAppend reports whether a record that begins an append stands behind
// the first byte of tail: then the damage is not in the last append.
func laterAppend(tail []byte) bool {
	for i := 1; i < len(tail); i++ {
		if r, _, ok := parseRecord(tail[i:]); ok && r.First {
			return true
		}
	}
	return false
}
