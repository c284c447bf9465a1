package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock marks a directory as somebody's world: the file holds the owner's process id, and the kernel lets go of it when
// the owner is gone, however it went.
type lock struct{ f *os.File }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// errRunning says whose world it is.
type errRunning struct{ pid int }

func (e *errRunning) Error() string {
	return fmt.Sprintf("a demo is running here already (process %d): run make demo-down first", e.pid)
}

// takeLock makes the directory ours, or fails with errRunning.
func takeLock(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := owner(dir)
		return nil, errors.Join(&errRunning{pid}, f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.f.Close() }

// owner is the process id in the lock file.
func owner(dir string) (int, error) {
	b, err := os.ReadFile(lockPath(dir))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// clearDir removes all that an earlier demo made; the lock and the log of serve, which are ours, stay.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != lockPath(dir) && e.Name() != serveLog {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// down asks the owner of the directory to stop everything and waits until it has let go.
func down(ctx context.Context, o options) error {
	l, err := takeLock(o.dir)
	if err == nil {
		fmt.Println("demo-down: nothing is running")
		return l.release()
	}
	var running *errRunning
	if !errors.As(err, &running) {
		return err
	}
	if err := stopAndWait(ctx, running.pid); err != nil {
		return fmt.Errorf("stop process %d: %w", running.pid, err)
	}
	fmt.Println("demo-down: everything is stopped")
	return nil
}

// stopAndWait ends a process in good order and returns when it is gone.
func stopAndWait(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	const look = 100 // milliseconds between looks at ctx
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, look)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return ctx.Err()
}
