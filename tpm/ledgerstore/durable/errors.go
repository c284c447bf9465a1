package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DiskError is a failed operation on a file. Its text is one line that fits a
// display and ends with what to do. Unwrap gives the system's error:
// errors.Is(err, unix.ENOSPC) says that the disk is full.
type DiskError struct {
	Op, Path string
	Err      error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("%s %s: %v%s", e.Op, Shorten(e.Path), e.Err, remedy(e.Err))
}

func (e *DiskError) Unwrap() error { return e.Err }

// remedies says what to do about an error of the system; what is not here
// explains itself.
var remedies = []struct {
	err  error
	text string
}{
	{unix.ENOSPC, "make room on this disk, then start again"},
	{unix.EDQUOT, "make room on this disk, then start again"},
	{unix.EFBIG, "the limit on file sizes is too low: raise it, then start again"},
	{unix.EMFILE, "the limit on open files is too low: raise it, then start again"},
	{unix.ENFILE, "too many files are open on this machine: end what opened them, then start again"},
	{unix.EROFS, "the disk is read-only, perhaps because it is failing: copy the log from it, then replace or repair it"},
	{unix.EIO, "the disk is failing: copy the log from it before anything else, then replace it"},
	{unix.EUCLEAN, damaged},
	{unix.EBADMSG, damaged},
	{fs.ErrPermission, "start as the user who owns these files"},
}

// damaged is what ext4 means by these two errors.
const damaged = "the file system is damaged: copy the log from it, then check the copy with e2fsck"

func remedy(err error) string {
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			return ": " + r.text
		}
	}
	return ""
}

// Shorten leaves the last two names of a path that is long: what a display, which
// shows ASCII only, has room for, and enough to find the file by.
func Shorten(path string) string {
	const most = 48
	if len(path) <= most {
		return path
	}
	return filepath.Join("...", filepath.Base(filepath.Dir(path)), filepath.Base(path))
}

// Error makes a *DiskError of the system's error, nil of nil.
func Error(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var de *DiskError
	var long *TooLongError
	if errors.As(err, &de) || errors.As(err, &long) {
		return err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &DiskError{Op: op, Path: path, Err: err}
}

// LockedError says that another process has a directory open.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by another process: stop it first", e.Dir)
}

// TooLongError says that a file is longer than it can rightly be.
type TooLongError struct {
	Path  string
	Limit int64
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("%s has more than %d bytes", e.Path, e.Limit)
}
