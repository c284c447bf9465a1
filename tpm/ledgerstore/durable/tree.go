package durable

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What is here is about whole directories of files that this program did not
// write one by one. It is for the machine's own file systems, not for a Disk.

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
