package ledgerstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"touchmark/tpm/ledgerstore/durable"
)

const segmentPrefix = "log-"

// segment is an open segment file; start is the position of its first byte in
// the log.
type segment struct {
	start int64
	file  durable.File
}

func segmentPath(dir string, start int64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x", segmentPrefix, start))
}

// listSegments gives the positions at which segments start, rising.
func listSegments(d durable.Disk, dir string) ([]int64, error) {
	names, err := d.List(dir)
	if err != nil {
		return nil, durable.Error("list", dir, err)
	}
	var starts []int64
	for _, name := range names {
		hex, ok := strings.CutPrefix(name, segmentPrefix)
		if !ok {
			continue
		}
		start, err := strconv.ParseInt(hex, 16, 64)
		if err != nil || segmentPath(dir, start) != filepath.Join(dir, name) {
			return nil, damaged(filepath.Join(dir, name), 0, "not the name of a segment")
		}
		starts = append(starts, start)
	}
	slices.Sort(starts)
	return starts, nil
}

func openSegments(d durable.Disk, dir string) ([]segment, error) {
	starts, err := listSegments(d, dir)
	if err != nil {
		return nil, err
	}
	if len(starts) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoStore)
	}
	var segments []segment
	for _, start := range starts {
		f, err := d.Open(segmentPath(dir, start), os.O_RDWR, 0)
		if err != nil {
			return segments, durable.Error("open", segmentPath(dir, start), err)
		}
		segments = append(segments, segment{start: start, file: f})
	}
	return segments, nil
}

// locate finds the segment that holds a position of the log.
func locate(segments []segment, pos int64) int {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].start > pos })
	return max(i-1, 0)
}

// group is one append as read from a segment: its records, with the positions
// at which they begin, and the position after the last.
type group struct {
	records []record
	at      []int64
	end     int64
}

// scanner reads append after append.
type scanner struct {
	dir      string
	segments []segment
	pos      int64 // where the next append begins
	current  int   // its segment
	in       *bufio.Reader
	left     int64 // bytes of the segment from pos on
	group    group
}

func newScanner(dir string, segments []segment, pos int64) *scanner {
	return &scanner{dir: dir, segments: segments, pos: pos, current: locate(segments, pos)}
}

func (c *scanner) path() string { return segmentPath(c.dir, c.segments[c.current].start) }

// enter begins to read the current segment at pos.
func (c *scanner) enter() error {
	seg := c.segments[c.current]
	size, err := seg.file.Size()
	if err != nil {
		return durable.Error("read", c.path(), err)
	}
	at := c.pos - seg.start
	c.left = max(size-at, 0)
	c.in = bufio.NewReaderSize(io.NewSectionReader(seg.file, at, c.left), int(min(c.left, readAhead)))
	return nil
}

// next reads the next append, nil at the end of the log; torn says that what
// stands there is none.
func (c *scanner) next() (g *group, torn bool, err error) {
	if c.in == nil {
		if err := c.enter(); err != nil {
			return nil, false, err
		}
	}
	for c.left == 0 {
		if c.current == len(c.segments)-1 {
			return nil, false, nil
		}
		c.current++
		if c.segments[c.current].start != c.pos {
			return nil, false, damaged(c.path(), 0, fmt.Sprintf("it follows %d bytes of log", c.pos))
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
	c.left -= c.group.end - c.pos
	c.pos = c.group.end
	return &c.group, false, nil
}

// read reads one append into group. whole is false when what stands there is
// none.
func (c *scanner) read() (whole bool, err error) {
	g := &c.group
	g.records, g.at, g.end = g.records[:0], g.at[:0], c.pos
	for g.end-c.pos <= maxAppend {
		r, n, ok, err := readRecord(c.in)
		if err != nil || !ok || r.first != (len(g.records) == 0) {
			return false, err
		}
		g.records, g.at = append(g.records, r), append(g.at, g.end)
		g.end += int64(n)
		if r.last {
			return true, nil
		}
	}
	return false, nil
}

func readRecord(in *bufio.Reader) (r record, size int, ok bool, err error) {
	b := make([]byte, headerSize, headerSize+2048)
	if _, err := io.ReadFull(in, b); err != nil {
		return record{}, 0, false, unlessEnd(err)
	}
	_, n, ok := parseHeader(b)
	if !ok {
		return record{}, 0, false, nil
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(in, b[headerSize:]); err != nil {
		return record{}, 0, false, unlessEnd(err)
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

// dropTorn cuts off the incomplete append at which next stopped, if it is the
// last thing in the log and could be what a crash left.
func (c *scanner) dropTorn() error {
	seg := c.segments[c.current]
	at := c.pos - seg.start
	if c.current != len(c.segments)-1 {
		return damaged(c.path(), at, "an incomplete record before the end of the log")
	}
	if c.left > maxAppend {
		return damaged(c.path(), at, "a damaged record, and more behind it than one append writes")
	}
	tail := make([]byte, c.left)
	if _, err := seg.file.ReadAt(tail, at); err != nil {
		return durable.Error("read", c.path(), err)
	}
	if laterAppend(tail) {
		return damaged(c.path(), at, "a damaged record, and a later append behind it")
	}
	return durable.Error("truncate", c.path(), seg.file.Truncate(at))
}

// laterAppend reports whether a record that begins an append stands behind
// the first byte of tail: then the damage is not in the last append.
func laterAppend(tail []byte) bool {
	for i := 1; i < len(tail); i++ {
		if r, _, ok := parseRecord(tail[i:]); ok && r.first {
			return true
		}
	}
	return false
}
