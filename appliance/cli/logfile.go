package cli

import (
	"os"
	"sync"
)

// maxLog bounds each of the two log files, in bytes. Whoever sits on the cable
// can have a line written with each message, and the disk is the ledger's.
const maxLog = 4 << 20

// logFile is a log file with at most one older one beside it.
type logFile struct {
	path string
	max  int64

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
}

func openLog(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, max: limit}
	return l, l.open()
}

// open appends to what an earlier run has left.
func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.size = f, st.Size()
	return nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return 0, err
		}
		old := l.file
		if err := l.open(); err != nil {
			return 0, err
		}
		_ = old.Close()
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}
