// Package segment keeps the log's records in files: the truth that everything
// else of a store is derived from. docs/spec/ledger.md section 3 draws every
// byte.
//
// An append is one write and one sync of one segment: all of its records are
// durable when Write returns, and after a crash all or none of them are whole.
// Positions count bytes from the log's beginning, over all segments.
//
// Nothing here is safe for several goroutines but reading beside reading.
package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"touchmark/tpm/ledgerstore/durable"
)

const prefix = "log-"

// ErrExists says that Create found segments, ErrNone that Open found none.
var (
	ErrExists = errors.New("there is a log already")
	ErrNone   = errors.New("there is no log here")
)

// Log is the open segments of a log.
type Log struct {
	dir   string
	disk  durable.Disk
	size  int64 // where a new segment begins
	files []file
}

// file is an open segment; start is the position of its first byte in the log.
type file struct {
	start int64
	durable.File
}

// Path is the file of the segment that begins at a position.
func Path(dir string, start int64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x", prefix, start))
}

// list gives the positions at which segments start, rising.
func list(d durable.Disk, dir string) ([]int64, error) {
	names, err := d.List(dir)
	if err != nil {
		return nil, durable.Error("list", dir, err)
	}
	var starts []int64
	for _, name := range names {
		hex, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		start, err := strconv.ParseInt(hex, 16, 64)
		if err != nil || Path(dir, start) != filepath.Join(dir, name) {
			return nil, Damaged(filepath.Join(dir, name), 0, "not the name of a segment")
		}
		starts = append(starts, start)
	}
	slices.Sort(starts)
	return starts, nil
}

// Create makes the first segment, empty.
func Create(d durable.Disk, dir string) error {
	starts, err := list(d, dir)
	if err != nil {
		return err
	}
	if len(starts) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrExists)
	}
	f, err := d.Open(Path(dir, 0), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	return durable.Error("create", Path(dir, 0), err)
}

// Open opens the segments in dir; one that has size bytes or more takes no
// further append, 0 meaning Size.
func Open(d durable.Disk, dir string, size int64) (*Log, error) {
	starts, err := list(d, dir)
	if err != nil {
		return nil, err
	}
	if len(starts) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	if size == 0 {
		size = Size
	}
	l := &Log{dir: dir, disk: d, size: size}
	for _, start := range starts {
		f, err := d.Open(Path(dir, start), os.O_RDWR, 0)
		if err != nil {
			return nil, errors.Join(durable.Error("open", Path(dir, start), err), l.Close())
		}
		l.files = append(l.files, file{start, f})
	}
	return l, nil
}

// Close closes the files.
func (l *Log) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}

// Clone is the log as it is now, for reading on while it is cut elsewhere.
func (l *Log) Clone() *Log {
	c := *l
	c.files = slices.Clone(l.files)
	return &c
}

// Files is how many segments there are.
func (l *Log) Files() int { return len(l.files) }

// locate finds the segment that holds a position.
func (l *Log) locate(pos int64) int {
	i := sort.Search(len(l.files), func(i int) bool { return l.files[i].start > pos })
	return max(i-1, 0)
}

// Where is the file, and the place in it, of a position.
func (l *Log) Where(pos int64) (path string, at int64) {
	start := l.files[l.locate(pos)].start
	return Path(l.dir, start), pos - start
}

func (l *Log) last() file { return l.files[len(l.files)-1] }

// Len is how many bytes the segments hold, a torn append included.
func (l *Log) Len() (int64, error) {
	last := l.last()
	size, err := last.Size()
	return last.start + size, durable.Error("read", Path(l.dir, last.start), err)
}

// Reaches reports whether every segment but the last ends where the next one
// begins, and the last not before a position.
func (l *Log) Reaches(end int64) (bool, error) {
	for i, f := range l.files {
		size, err := f.Size()
		if err != nil {
			return false, durable.Error("read", Path(l.dir, f.start), err)
		}
		last := i == len(l.files)-1
		if last && f.start+size < end || !last && f.start+size != l.files[i+1].start {
			return false, nil
		}
	}
	return true, nil
}

// Write makes b, one append, durable at the end of the log.
func (l *Log) Write(b []byte, end int64) error {
	if end-l.last().start >= l.size {
		if err := l.roll(end); err != nil {
			return err
		}
	}
	return l.put(l.last(), b, end)
}

// put writes at a position of one segment and syncs it.
func (l *Log) put(f file, b []byte, pos int64) error {
	path := Path(l.dir, f.start)
	if _, err := f.WriteAt(b, pos-f.start); err != nil {
		return durable.Error("write", path, err)
	}
	return durable.Error("sync", path, f.Sync())
}

func (l *Log) roll(end int64) error {
	path := Path(l.dir, end)
	f, err := l.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return durable.Error("create", path, err)
	}
	l.files = append(l.files, file{end, f})
	return durable.Error("sync", l.dir, l.disk.SyncDir(l.dir))
}

// Settle makes sure that what was read is on disk and not only in memory: the
// process before this one may have died before its sync, or its sync may have
// failed, after which a kernel takes the unwritten pages for clean. So the
// newest append, which begins at a position, is written again, in place, and
// synced.
func (l *Log) Settle(newest, end int64) error {
	last := l.last()
	b := make([]byte, end-max(newest, last.start))
	if _, err := last.ReadAt(b, end-int64(len(b))-last.start); err != nil && len(b) > 0 {
		return durable.Error("read", Path(l.dir, last.start), err)
	}
	return l.put(last, b, end-int64(len(b)))
}

// Amend writes the header of a record again, with other flags, in place. It is
// not durable before the next sync.
func (l *Log) Amend(r Record, pos int64) error {
	f := l.files[l.locate(pos)]
	_, err := f.WriteAt(appendRecord(nil, r)[:HeaderSize], pos-f.start)
	return durable.Error("write", Path(l.dir, f.start), err)
}

// Cut durably drops everything from a position on, the newest segment first.
func (l *Log) Cut(end int64) error {
	for len(l.files) > 1 && l.last().start >= end {
		path := Path(l.dir, l.last().start)
		if err := l.last().Close(); err != nil {
			return durable.Error("close", path, err)
		}
		l.files = l.files[:len(l.files)-1]
		if err := l.disk.Remove(path); err != nil {
			return durable.Error("remove", path, err)
		}
		if err := l.disk.SyncDir(l.dir); err != nil {
			return durable.Error("sync", l.dir, err)
		}
	}
	last := l.last()
	return durable.Truncate(last, Path(l.dir, last.start), end-last.start)
}
