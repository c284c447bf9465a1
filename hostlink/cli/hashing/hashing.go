// Package hashing reduces files to what the appliance needs of them: the state of a
// hash after their last byte (appliance/sigformat/hashstate), in the form that a format of
// signature has them in. Files are only read, in parallel, and each is looked at before
// and after: one that is not the same file all the time is refused. Errors
// have exit codes.
package hashing

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// identity is what must not change while a file is hashed and signed.
type identity struct {
	dev, ino uint64
	size     int64
	sec, ns  int64 // modification time
}

func identityOf(st os.FileInfo) identity {
	id := identity{size: st.Size(), sec: st.ModTime().Unix(), ns: int64(st.ModTime().Nanosecond())}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = sys.Dev, sys.Ino
	}
	return id
}

// File is a file reduced to what the appliance needs.
type File struct {
	Path   string
	Format sigformat.Format
	State  hashstate.State // as the format has the file
	id     identity
}

// Digest is what the appliance is told of the file.
func (h *File) Digest() message.Digest {
	return message.Digest{Alg: h.State.Alg(), Sum: h.State.Digest()}
}

// Read gives the file as it is now.
func (h *File) Read() ([]byte, error) { return api.ReadSmall(h.Path, openpgp.MaxClear) }

// Again reads a file that was hashed before, and confirms that it still is that.
func (h *File) Again() ([]byte, error) {
	b, err := h.Read()
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", err)
	}
	if s, err := h.Format.Digest(h.State.Alg(), bytes.NewReader(b)); err != nil || s != h.State {
		return nil, api.Errorf(api.BadInput, "%s was changed in the meantime: wait until nothing writes to it, then try again", h.Path)
	}
	return b, nil
}

// Unchanged confirms that the path still names the file that was hashed.
func (h *File) Unchanged() error {
	st, err := os.Stat(h.Path)
	if err != nil {
		return api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	if identityOf(st) != h.id {
		return api.Errorf(api.BadInput, "%s was changed in the meantime: wait until nothing writes to it, then try again", h.Path)
	}
	return nil
}

// Files hashes files in parallel, one goroutine per processor. done counts
// bytes. The error is that of the first file, in the order given, that failed.
func Files(paths []string, format sigformat.Format, alg message.Alg, done *atomic.Int64) ([]*File, error) {
	out, errs := make([]*File, len(paths)), make([]error, len(paths))
	if len(paths) == 1 {
		h, err := Hash(paths[0], format, alg, done)
		return []*File{h}, err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(paths), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(paths); i = next.Add(1) - 1 {
				out[i], errs[i] = Hash(paths[i], format, alg, done)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// openRegular opens a regular file; nothing else can block the open.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		what := "not a regular file"
		if st.IsDir() {
			what = "a directory: name the files in it"
		}
		err = fmt.Errorf("%s is %s", path, what)
	}
	if err != nil {
		_ = f.Close() // read only: nothing can be lost
		return nil, nil, api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	return f, st, nil
}

// Hash hashes one file and makes sure that it stood still meanwhile.
func Hash(path string, format sigformat.Format, alg message.Alg, done *atomic.Int64) (*File, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing can be lost
	return hashOpen(path, f, st, format, alg, done)
}

// hashOpen hashes a file that was like st when it was opened.
func hashOpen(path string, f *os.File, st os.FileInfo, format sigformat.Format, alg message.Alg, done *atomic.Int64) (*File, error) {
	h := &File{Path: path, Format: format, id: identityOf(st)}
	hasher := hashstate.New(alg)
	into := format.Canonical(hasher)
	how := pump
	if h.id.size >= pipelined {
		how = pumpBeside
	}
	size, err := how(f, into, done)
	if err == nil {
		if err = into.Close(); err != nil {
			return nil, api.Errorf(api.BadInput, "%s cannot be signed as %s: %w", path, format.Name, err)
		}
	}
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	after, err := f.Stat()
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	h.State = hasher.State()
	if identityOf(after) != h.id || size != h.id.size {
		return nil, api.Errorf(api.BadInput, "%s changed while it was hashed: wait until nothing writes to it, then try again", path)
	}
	return h, h.Unchanged()
}

const (
	pipelined = 4 << 20   // from this size on reading and hashing overlap
	chunk     = 256 << 10 // stays in a processor's cache between read and hash
	bigChunk  = 1 << 20   // several in flight: smaller ones cost more in wake-ups than the cache saves
)

// pump reads and hashes in turn. What h has against it, it says when it is
// closed.
func pump(r io.Reader, h io.Writer, done *atomic.Int64) (size int64, err error) {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		_, _ = h.Write(buf[:n])
		size += int64(n)
		done.Add(int64(n))
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// pumpBeside lets a second goroutine read ahead.
func pumpBeside(r io.Reader, h io.Writer, done *atomic.Int64) (size int64, err error) {
	free, full := make(chan []byte, 4), make(chan []byte, 4)
	for range cap(free) {
		free <- make([]byte, bigChunk)
	}
	var failed error
	go func() {
		defer close(full)
		for buf := range free {
			n, err := r.Read(buf[:bigChunk])
			if n > 0 {
				full <- buf[:n]
			}
			if err != nil {
				if err != io.EOF {
					failed = err // read after full is closed
				}
				return
			}
		}
	}()
	for buf := range full {
		_, _ = h.Write(buf)
		size += int64(len(buf))
		done.Add(int64(len(buf)))
		free <- buf
	}
	return size, failed
}

// Check looks at all files before the first byte is hashed, and adds up
// their sizes.
func Check(paths []string, format sigformat.Format, allowEmpty bool) (total int64, err error) {
	for _, p := range paths {
		f, st, err := openRegular(p)
		if err != nil {
			return 0, err
		}
		_ = f.Close() // read only: nothing can be lost
		if st.Size() == 0 && !allowEmpty {
			return 0, api.Errorf(api.BadInput, "%s is empty: if that is right, use --allow-empty", p)
		}
		if format.Cleartext() && st.Size() > openpgp.MaxClear {
			return 0, api.Errorf(api.BadInput, "%s has %d bytes: a text with its signature in one file has at most %d", p, st.Size(), openpgp.MaxClear)
		}
		total += st.Size()
	}
	return total, nil
}
