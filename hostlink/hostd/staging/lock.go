package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

// The lock of repo-add and repo-remove is a file, made by whoever gets to make
// it and removed when he is done; in it stands his process id, for people.

// lockText is what our lock says. The words let us know our own again.
func (r *Repository) lockText() string {
	return fmt.Sprintf("%d touchmark-hostd, rule %s\n", os.Getpid(), r.Rule)
}

// lock takes the repository tools' lock, or is ErrLocked at once: nobody waits
// for anybody. The file appears with its text in it.
func (r *Repository) lock() (release func() error, err error) {
	if r.Lock == "" {
		return func() error { return nil }, nil
	}
	temp := filepath.Join(filepath.Dir(r.Lock), "."+filepath.Base(r.Lock)+".touchmark")
	if err := durable.Replace(temp, []byte(r.lockText()), 0o644); err != nil {
		return nil, unwritable(err, "the directory of the lock")
	}
	err = r.takeLock(temp)
	if err = errors.Join(err, durable.OS.Remove(temp)); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: it holds %s; if none runs, remove that", ErrLocked, r.Lock)
	}
	if err != nil {
		return nil, err
	}
	return r.release, nil
}

// unwritable adds to an error about a directory what it is to be like.
func unwritable(err error, dir string) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w; or systemd keeps the daemon from it: ReadWritePaths= of its unit is to name a directory above dir and into", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s must be there, and be this user's to write in", err, dir)
	}
	return err
}

// takeLock gives the lock's name to a file, also if we have it from a time when
// it could not be removed.
func (r *Repository) takeLock(temp string) error {
	err := durable.Link(temp, r.Lock)
	if errors.Is(err, fs.ErrExist) && !r.held {
		if err := r.Unlock(); err != nil {
			return err
		}
		err = durable.Link(temp, r.Lock)
	}
	r.held = r.held || err == nil
	return err
}

func (r *Repository) release() error {
	r.held = false
	return durable.OS.Remove(r.Lock)
}

// Unlock removes a lock that a touchmark-hostd left that was killed. Only one
// runs with this configuration, and the caller is it.
func (r *Repository) Unlock() error {
	if r.Lock == "" {
		return nil
	}
	b, err := durable.ReadRegular(r.Lock, maxMarker)
	var long *durable.TooLongError
	switch {
	case errors.Is(err, ErrMoved), errors.As(err, &long):
		return nil // there is none, or it is none of ours
	case err != nil:
		return err
	}
	if !strings.HasSuffix(string(b), fmt.Sprintf(" touchmark-hostd, rule %s\n", r.Rule)) {
		return nil
	}
	return durable.OS.Remove(r.Lock)
}
