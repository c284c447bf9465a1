// Package orderdir looks at a directory for administrators' orders that somebody
// brings, such as on a USB stick. Nothing in the directory is trusted: only
// regular files of a bounded size are read, and nothing is written.
package orderdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledger"
)

// maxFiles bounds the files that are looked at in the directory where
// orders are put: a stick may hold anything.
const maxFiles = 64

// Watch gives take each NAME.note in dir, once as long as it stays as it is, and
// looks again at every interval. What it answers ends it and waits for the end.
func Watch(ctx context.Context, dir string, every time.Duration, take func(name string, note []byte, err error)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := map[string]seenFile{}
		for {
			seen = look(dir, seen, take)
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// seenFile tells a file from a later one of its name.
type seenFile struct {
	size int64
	time time.Time
}

func look(dir string, seen map[string]seenFile, take func(string, []byte, error)) map[string]seenFile {
	names, err := filepath.Glob(filepath.Join(dir, "*.note"))
	if err != nil {
		return seen
	}
	now := map[string]seenFile{}
	for _, name := range names[:min(len(names), maxFiles)] {
		st, err := os.Lstat(name)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		f := seenFile{st.Size(), st.ModTime()}
		if now[name] = f; seen[name] == f {
			continue
		}
		note, err := read(name)
		take(filepath.Base(name), note, err)
	}
	return now
}

func read(name string) ([]byte, error) {
	f, err := open(name, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, ledger.MaxNote+1))
}

// open opens what is there by now, which may be anything; errors call it name.
func open(path, name string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Open opens the regular file of a name and size in dir, such as an image that an
// order is about.
func Open(dir, name string, size int64) (*os.File, error) {
	f, err := open(filepath.Join(dir, name), name)
	if err != nil {
		return nil, fmt.Errorf("the stick has no %s: %w", name, err)
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Size() != size) {
		err = fmt.Errorf("%s has %d bytes, the order says %d", name, st.Size(), size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
