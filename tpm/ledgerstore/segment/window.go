package segment

import (
	"errors"
	"io"
	"os"

	"touchmark/tpm/ledgerstore/durable"
)

// Window reads single records. It keeps what it read last, so that records
// that follow each other cost one read.
type Window struct {
	size int // bytes to read at a time
	file durable.File
	at   int64 // in file
	b    []byte
}

// NewWindow reads this many bytes of records at a time, and a few more, within
// bounds.
func NewWindow(bytes uint64) *Window {
	return &Window{size: int(min(bytes, readAhead-readOne)) + readOne}
}

// Record reads and checks the record at a position of the log. Its payload is
// the caller's. What cannot be one is a *CorruptError.
func (w *Window) Record(l *Log, pos int64) (Record, error) {
	if len(l.files) == 0 {
		return Record{}, os.ErrClosed
	}
	f := l.files[l.locate(pos)]
	at := pos - f.start
	if at < 0 {
		return Record{}, &CorruptError{Path(l.dir, f.start), 0, "a record before the log's beginning was asked for", StartAgain}
	}
	if w.file == f.File && at >= w.at && at < w.at+int64(len(w.b)) {
		if r, _, ok := parseRecord(w.b[at-w.at:]); ok {
			return r, nil
		}
	}
	for _, size := range []int{w.size, maxRecord} {
		w.file, w.at, w.b = f.File, at, make([]byte, size)
		n, err := f.ReadAt(w.b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return Record{}, durable.Error("read", Path(l.dir, f.start), err)
		}
		w.b = w.b[:n]
		if r, _, ok := parseRecord(w.b); ok {
			return r, nil
		}
	}
	return Record{}, &CorruptError{Path(l.dir, f.start), at, "a record cannot be read", StartAgain}
}
