// Package socket is a daemon's unix socket: opened with the permissions that it
// shall have and no others in between, taken over from a daemon that is gone, and
// served by a bounded number of goroutines.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

// Listen opens the daemon's socket with the given permissions. A socket left
// behind by a daemon that is gone is replaced; one that answers is not.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("socket %s: another touchmark-hostd is running: stop it first", path), c.Close())
	}
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket: %w", err)
		}
	}
	l, err := (&net.ListenConfig{Control: closed}).Listen(context.Background(), "unix", path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// closed lets nobody but the owner connect between bind and chmod: Linux gives
// a new socket file the permissions its descriptor had. The umask would do the
// same to every file that the process makes meanwhile.
func closed(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
}

// Clients are served one goroutine each.
type Clients struct {
	Most   int            // at once
	Serve  func(net.Conn) // speaks with one; the connection is closed after it
	Refuse func(net.Conn) // speaks with one too many; likewise
	Failed func(error)    // hears why none came; another try follows
}

// Serve takes connections until ctx ends, and closes l. It returns when all
// clients have been served.
func Serve(ctx context.Context, l net.Listener, s Clients) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	room := make(chan struct{}, s.Most)
	for {
		c := s.next(ctx, l)
		if c == nil {
			return
		}
		select {
		case room <- struct{}{}:
		default:
			s.Refuse(c)
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { _ = c.Close(); <-room }()
			s.Serve(c)
		})
	}
}

// retry spaces the attempts to take a connection.
const retry = 250 * time.Millisecond

// next is the next client's connection, nil when there will be none. What keeps it
// from coming, such as too many open files, passes.
func (s *Clients) next(ctx context.Context, l net.Listener) net.Conn {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			return c
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		}
		s.Failed(err)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil
		}
	}
}
