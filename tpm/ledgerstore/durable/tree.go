package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What is here makes whole directories of files, and is for the machine's own
// file systems, not for a Disk. None of it waits for the disk but SyncAll, which
// must come before anybody relies on what was made.

// ErrMoved says that a file was changed, or went away, while it was copied.
var ErrMoved = errors.New("it was changed while it was looked at")

// Link gives a file a second name, which must not be taken.
func Link(from, to string) error { return os.Link(from, to) }

// Symlink makes a symbolic link in place of one that may be there.
func Symlink(target, path string) error {
	if err := IgnoreMissing(os.Remove(path)); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// LinkOrCopy gives a file a second name in another directory, or copies it where
// that cannot be: on another file system, of another user.
func LinkOrCopy(from, to string) error {
	err := os.Link(from, to)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK):
		return Copy(from, to, io.Discard)
	case errors.Is(err, fs.ErrNotExist):
		return ErrMoved
	}
	return err
}

// Copy makes a file of its own, with the time and permissions of another, whose
// content goes to also as well. The other must stand still meanwhile.
func Copy(from, to string, also io.Writer) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // waits for nobody at a pipe
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only: nothing can be lost
	before, err := in.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return ErrMoved
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = out.Chmod(before.Mode().Perm()); err == nil {
		_, err = io.Copy(io.MultiWriter(out, also), in)
	}
	after, serr := in.Stat()
	if err == nil && serr == nil && Identity(before) != Identity(after) {
		err = ErrMoved
	}
	return errors.Join(err, serr, out.Close(), os.Chtimes(to, before.ModTime(), before.ModTime()))
}

// Identity is a text that changes when a file is replaced or written to.
func Identity(st fs.FileInfo) string {
	ino := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		ino = sys.Ino
	}
	return fmt.Sprint(ino, st.Size(), st.ModTime().UnixNano())
}

// SyncAll makes everything durable that was written to the file system of dir.
func SyncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return Error("sync", dir, err)
	}
	return Error("sync", dir, errors.Join(unix.Syncfs(int(f.Fd())), f.Close()))
}

// Exchange lets two paths change places at once: whoever looks finds either what
// stood at each before, or both exchanged. The names are durable when both
// directories were synced.
func Exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		err = fmt.Errorf("this file system cannot exchange directories: use a local one (ext4, xfs, btrfs, f2fs, tmpfs): %w", err)
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("it is a mount point: name a directory below it: %w", err)
	}
	return Error("exchange", b, err)
}
