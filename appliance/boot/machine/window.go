package machine

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// windowSize is what is read of a disk at a time, and a multiple of what any disk wants to be read in.
const windowSize = 1 << 20

// window reads a disk in large pieces past the kernel's cache (O_DIRECT, open(2)): what is read once, to be hashed, need not
// be kept, page by page, in memory that the board does not have too much of. It is one goroutine's.
type window struct {
	*os.File
	memory []byte // aligned, as the kernel wants it
	seen   []byte // what of it was read last
	at     int64  // where that begins
}

// openWindow opens a disk; one whose driver knows no way past the cache is read through it.
func openWindow(path string) (*window, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	memory, err := unix.Mmap(-1, 0, windowSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &window{File: f, memory: memory}, nil
}

func (w *window) close() error { return errors.Join(unix.Munmap(w.memory), w.Close()) }

// ReadAt is io.ReaderAt's.
func (w *window) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		if at := off + int64(n); at < w.at || at >= w.at+int64(len(w.seen)) {
			if err := w.look(at); err != nil {
				return n, err
			}
		}
		n += copy(b[n:], w.seen[off+int64(n)-w.at:])
	}
	return n, nil
}

// look reads the window that an offset is in.
func (w *window) look(at int64) error {
	w.at = at - at%windowSize
	n, err := w.File.ReadAt(w.memory, w.at)
	w.seen = w.memory[:n]
	if at < w.at+int64(n) {
		return nil // what is behind the end, the next look says
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
