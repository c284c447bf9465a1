package ledgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is an open file of the store.
type file interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error // data and size are durable on return
	Close() error
}

// disk is everything this package does to the outside world; tests put one in
// its place whose calls fail.
type disk interface {
	Lock(dir string) (io.Closer, error)
	MkdirAll(dir string) error
	List(dir string) ([]string, error)
	Open(path string, perm fs.FileMode, flag int) (file, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error
}

// DiskError is a failed operation on a file. Unwrap gives the system's error:
// errors.Is(err, unix.ENOSPC) says that the disk is full. After one, the log
// is as durable as it was before the operation, and a Store takes no more.
type DiskError struct {
	Op, Path string
	Err      error
}

func (e *DiskError) Error() string {
	hint := ""
	switch {
	case errors.Is(e.Err, unix.ENOSPC), errors.Is(e.Err, unix.EDQUOT):
		hint = ": make room on this disk, then start again"
	case errors.Is(e.Err, unix.EIO), errors.Is(e.Err, unix.EROFS):
		hint = ": the disk may be failing; copy the log before anything else"
	}
	return fmt.Sprintf("%s %s: %v%s", e.Op, e.Path, e.Err, hint)
}

func (e *DiskError) Unwrap() error { return e.Err }

func diskErr(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &DiskError{Op: op, Path: path, Err: err}
}

// LockedError says that another process has the store open.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by another process: stop it first", e.Dir)
}

type osDisk struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Sync is fdatasync: data and the size that makes it reachable, without the
// times nobody needs.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (osDisk) Lock(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if cerr := f.Close(); cerr != nil {
		return nil, cerr
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &LockedError{Dir: dir}
	}
	return nil, diskErr("lock", dir, err)
}

func (osDisk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

func (osDisk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osDisk) Open(path string, perm fs.FileMode, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(path string) error     { return os.Remove(path) }

func (osDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// WriteFile replaces path with data so that, whatever fails and whenever the
// power goes, path holds either the old or the new content, whole; on return
// the new one is durable. The file gets exactly perm. Several writers of one
// path do not disturb each other: the last one wins.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".touchmark-*.new") // a new file, never through a link
	if err != nil {
		return diskErr("write", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(diskErr("write", path, err), os.Remove(f.Name()))
	}
	return diskErr("sync", filepath.Dir(path), osDisk{}.SyncDir(filepath.Dir(path)))
}

// tempName is in the same directory, so that the rename is atomic, and hidden
// from web servers and shells. It is for directories with a single writer,
// which overwrites what a crash left of it.
func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// writeTemp makes data durable under the temporary name.
func writeTemp(d disk, path string, data []byte, perm fs.FileMode) error {
	temp := tempName(path)
	f, err := d.Open(temp, perm, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return diskErr("write", path, err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(diskErr("write", path, err), ignoreMissing(d.Remove(temp)))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
