package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// What follows takes files out of directories that others may write to. They are
// named below open directories, and no symbolic link is followed: what is put
// into the place of something else meanwhile is ErrMoved.

// OpenDir opens a directory.
func OpenDir(path string) (*os.File, error) { return openDirAt(unix.AT_FDCWD, path, path, 0) }

// OpenDirAt opens a directory of an open one.
func OpenDirAt(dir *os.File, name string) (*os.File, error) {
	return openDirAt(int(dir.Fd()), name, filepath.Join(dir.Name(), name), unix.O_NOFOLLOW)
}

func openDirAt(at int, name, path string, flags int) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	})
	if err != nil {
		return nil, Error("open", path, moved(err, flags != 0))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadlinkAt reads a symbolic link of an open directory.
func ReadlinkAt(dir *os.File, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, b)
	if err != nil {
		return "", Error("read", filepath.Join(dir.Name(), name), moved(err, true))
	}
	return string(b[:n]), nil
}

// LinkOrCopyAt gives a regular file of an open directory a second name, or copies
// it where that cannot be: on another file system, of another user.
func LinkOrCopyAt(dir *os.File, name, to string) error {
	path := filepath.Join(dir.Name(), name)
	err := unix.Linkat(int(dir.Fd()), name, unix.AT_FDCWD, to, 0)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) {
		in, err := openRegularAt(int(dir.Fd()), name, path)
		if err != nil {
			return err
		}
		return copyOf(in, to, io.Discard)
	}
	if err != nil {
		return Error("link", path, moved(err, true))
	}
	if st, err := os.Lstat(to); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, Error("link", path, ErrMoved))
	}
	return nil
}

// moved is ErrMoved for what says that a name is gone, or is something else now.
func moved(err error, inside bool) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EINVAL, unix.ENXIO} {
		if inside && errors.Is(err, gone) {
			return ErrMoved
		}
	}
	return err
}

func retry(do func() (int, error)) (n int, err error) {
	for {
		if n, err = do(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// openRegularAt opens a regular file, and waits for nobody at a pipe.
func openRegularAt(at int, name, path string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, Error("read", path, moved(err, true))
	}
	f := os.NewFile(uintptr(fd), path)
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = ErrMoved
	}
	if err != nil {
		return nil, errors.Join(Error("read", path, err), f.Close())
	}
	return f, nil
}

// ReadRegular reads a file of at most limit bytes where others may put something
// that is none, which is ErrMoved, as is one that is not there.
func ReadRegular(path string, limit int64) ([]byte, error) {
	f, err := openRegularAt(unix.AT_FDCWD, path, path)
	if err != nil {
		return nil, err
	}
	b, err := readAll(osFile{f}, path, limit)
	return b, Error("read", path, errors.Join(err, f.Close()))
}

// Copy makes a file of its own, with the time and permissions of another, but for
// others' to write, whose content goes to also as well. The other must stand
// still meanwhile.
func Copy(from, to string, also io.Writer) error {
	in, err := openRegularAt(unix.AT_FDCWD, from, from)
	if err != nil {
		return err
	}
	return copyOf(in, to, also)
}

// copyOf copies an open file and closes it.
func copyOf(in *os.File, to string, also io.Writer) error {
	defer func() { _ = in.Close() }() // read only: nothing can be lost
	before, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = out.Chmod(before.Mode().Perm() &^ 0o022); err == nil {
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
