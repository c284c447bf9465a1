package ledgerstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
)

const segmentPrefix = "log-"

func segmentPath(dir string, start int64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x", segmentPrefix, start))
}

// listSegments gives the positions at which segments start, rising.
func listSegments(d disk, dir string) ([]int64, error) {
	names, err := d.List(dir)
	if err != nil {
		return nil, diskErr("list", dir, err)
	}
	var starts []int64
	for _, name := range names {
		hex, ok := strings.CutPrefix(name, segmentPrefix)
		if !ok {
			continue
		}
		start, err := strconv.ParseInt(hex, 16, 64)
		if err != nil || segmentPath(dir, start) != filepath.Join(dir, name) {
			return nil, &CorruptError{Path: filepath.Join(dir, name), Reason: "not the name of a segment"}
		}
		starts = append(starts, start)
	}
	slices.Sort(starts)
	return starts, nil
}

// load reads all segments, drops a torn tail and checks the derived files.
func (s *Store) load() error {
	starts, err := listSegments(s.disk, s.dir)
	if err != nil {
		return err
	}
	if len(starts) == 0 {
		return fmt.Errorf("%s: %w", s.dir, ErrNoStore)
	}
	if err := s.openFiles(starts); err != nil {
		return err
	}
	l := newLoader(s)
	for i := range s.segments {
		if err := l.segment(i); err != nil {
			return err
		}
	}
	if err := l.finish(); err != nil {
		return err
	}
	return l.settle()
}

func (s *Store) openFiles(starts []int64) error {
	for _, start := range starts {
		f, err := s.disk.Open(segmentPath(s.dir, start), os.O_RDWR, 0)
		if err != nil {
			return diskErr("open", segmentPath(s.dir, start), err)
		}
		s.segments = append(s.segments, segment{start: start, file: f})
	}
	for i, name := range derivedNames {
		f, err := s.disk.Open(filepath.Join(s.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return diskErr("open", filepath.Join(s.dir, name), err)
		}
		s.derived[i] = f
	}
	return nil
}

// loader replays the segments into a store.
type loader struct {
	s       *Store
	derived [3]*checker
	group   []record // records of the append being read
	newest  int64    // position of the newest whole append
	offsets []int64  // their positions
}

func newLoader(s *Store) *loader {
	l := &loader{s: s}
	for i := range l.derived {
		path := filepath.Join(s.dir, derivedNames[i])
		l.derived[i] = &checker{file: s.derived[i], path: path, strict: i == hashesFile}
	}
	return l
}

// segment reads one segment from its start to its end or to a torn tail,
// which only the last one may have.
func (l *loader) segment(i int) error {
	seg := l.s.segments[i]
	path := segmentPath(l.s.dir, seg.start)
	if seg.start != l.s.end {
		return &CorruptError{Path: path, Reason: fmt.Sprintf("it follows %d bytes of log", l.s.end)}
	}
	size, err := seg.file.Size()
	if err != nil {
		return diskErr("read", path, err)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(seg.file, 0, size), 1<<18)
	for l.s.end-seg.start < size {
		whole, err := l.append(in)
		if err != nil {
			return diskErr("read", path, err)
		}
		if !whole {
			return l.torn(i, path, size)
		}
	}
	return nil
}

// append reads one append. whole is false when what stands there is none.
func (l *loader) append(in *bufio.Reader) (whole bool, err error) {
	l.group, l.offsets = l.group[:0], l.offsets[:0]
	pos := l.s.end
	for {
		r, n, ok, err := readRecord(in)
		if err != nil || !ok || r.first != (len(l.group) == 0) || pos-l.s.end > maxAppend {
			return false, err
		}
		l.group, l.offsets = append(l.group, r), append(l.offsets, pos)
		pos += int64(n)
		if r.last {
			return l.accept(pos)
		}
	}
}

func readRecord(in *bufio.Reader) (r record, size int, ok bool, err error) {
	b := make([]byte, headerSize)
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

// accept takes over a whole append that ends at position end.
func (l *loader) accept(end int64) (bool, error) {
	s := l.s
	for i, r := range l.group {
		if r.kind == kindPlan {
			if err := l.derived[plansFile].add(r.payload); err != nil {
				return false, err
			}
			s.plans++
			continue
		}
		for _, h := range s.tree.Add(ledger.LeafHash(r.payload)) {
			if err := l.derived[hashesFile].add(h[:]); err != nil {
				return false, err
			}
		}
		if err := l.derived[offsetsFile].add(binary.BigEndian.AppendUint64(nil, uint64(l.offsets[i]))); err != nil {
			return false, err
		}
	}
	l.newest, s.end = s.end, end
	return true, nil
}

// settle makes sure that what was read is on disk and not only in memory: the
// process before this one may have died before its sync, or its sync may have
// failed, after which a kernel takes the unwritten pages for clean. So the
// newest append is written again, in place, and synced.
func (l *loader) settle() error {
	seg := l.s.segments[len(l.s.segments)-1]
	path := segmentPath(l.s.dir, seg.start)
	b := make([]byte, l.s.end-max(l.newest, seg.start))
	at := l.s.end - seg.start - int64(len(b))
	if _, err := seg.file.ReadAt(b, at); err != nil && len(b) > 0 {
		return diskErr("read", path, err)
	}
	if _, err := seg.file.WriteAt(b, at); err != nil {
		return diskErr("write", path, err)
	}
	return diskErr("sync", path, seg.file.Sync())
}

// torn deals with an incomplete append at s.end: dropped, if it is the last
// thing in the log and could be what a crash left.
func (l *loader) torn(i int, path string, size int64) error {
	s, seg := l.s, l.s.segments[i]
	at := s.end - seg.start
	corrupt := func(reason string) error { return &CorruptError{Path: path, Offset: at, Reason: reason} }
	if i != len(s.segments)-1 {
		return corrupt("an incomplete record before the end of the log")
	}
	if size-at > maxAppend {
		return corrupt("a damaged record, and more behind it than one append writes")
	}
	tail := make([]byte, size-at)
	if _, err := seg.file.ReadAt(tail, at); err != nil {
		return diskErr("read", path, err)
	}
	if laterAppend(tail) {
		return corrupt("a damaged record, and a later append behind it")
	}
	if err := seg.file.Truncate(at); err != nil {
		return diskErr("truncate", path, err)
	}
	return nil
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

func (l *loader) finish() error {
	for i, c := range l.derived {
		if err := c.finish(); err != nil {
			return err
		}
		if i == hashesFile && c.surplus {
			return &CorruptError{Path: c.path, Offset: c.at, Reason: "it has hashes of entries that are no longer in the log, though they were durable"}
		}
	}
	return nil
}

// checker compares a derived file with what it ought to hold, block by block,
// and puts right what a crash left unwritten.
type checker struct {
	file    file
	path    string
	strict  bool // content that differs is corruption, unless it is zeros
	at      int64
	pending []byte
	surplus bool
}

func (c *checker) add(b []byte) error {
	c.pending = append(c.pending, b...)
	if len(c.pending) < 1<<16 {
		return nil
	}
	return c.flush()
}

func (c *checker) flush() error {
	have := make([]byte, len(c.pending))
	n, err := c.file.ReadAt(have, c.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return diskErr("read", c.path, err)
	}
	if !bytes.Equal(have[:n], c.pending) {
		if at := c.conflict(have[:n]); c.strict && at >= 0 {
			return &CorruptError{Path: c.path, Offset: at, Reason: "a hash differs from its entry; if the entries are known to be good, delete this file and it is made again"}
		}
		if _, err := c.file.WriteAt(c.pending, c.at); err != nil {
			return diskErr("write", c.path, err)
		}
	}
	c.at += int64(len(c.pending))
	c.pending = c.pending[:0]
	return nil
}

// conflict finds a whole hash that is there, is not zeros (blocks a crash left
// unwritten) and is wrong.
func (c *checker) conflict(have []byte) int64 {
	var zero [tlog.HashSize]byte
	for i := 0; i+tlog.HashSize <= len(have); i += tlog.HashSize {
		h := have[i : i+tlog.HashSize]
		if !bytes.Equal(h, c.pending[i:i+tlog.HashSize]) && !bytes.Equal(h, zero[:]) {
			return c.at + int64(i)
		}
	}
	return -1
}

// finish compares the rest and notes whether the file is longer than it ought
// to be; what is too long in a file that is not strict is cut off.
func (c *checker) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	size, err := c.file.Size()
	if err != nil {
		return diskErr("read", c.path, err)
	}
	if size <= c.at {
		return nil
	}
	if c.surplus = c.strict; c.surplus {
		return nil
	}
	return diskErr("truncate", c.path, c.file.Truncate(c.at))
}
