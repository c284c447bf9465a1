// Package durable is the one place of the project that writes files which
// must survive a power cut.
//
// Disk is everything it does to the outside world: OS is the real one, and
// tests put one in its place that fails, tears writes or loses what was not
// synced (package disktest). On it stand
//
//	WriteFile  replaces a file: old content or new, whole, whatever happens;
//	           on return the new one is durable
//	Replace    the same without waiting for the disk, for what may be lost
//	MkdirAll   makes directories whose names are durable on return
//
// and the log itself (package ledgerstore).
//
// Assumptions: a file system keeps what was synced, a rename within a
// directory is atomic, and syncing a directory makes the names in it durable.
// A disk that lies about its syncs breaks the first of them; what it lost is
// then found out by comparing the log with the TPM (package anchor).
//
// After a failed sync nothing is known about what is on disk: a kernel takes
// the unwritten pages for clean and a second sync succeeds without them. So
// nobody syncs twice; whoever opens the file again writes again.
package durable

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Chmod(perm fs.FileMode) error
	Sync() error // data and size are durable on return, the file's name is not
	Close() error
}

// Disk is a file system, with the system's errors, wrapped as package os does.
type Disk interface {
	Lock(dir string) (io.Closer, error) // a *LockedError if somebody else has it
	Mkdir(dir string, perm fs.FileMode) error
	List(dir string) ([]string, error)
	Open(path string, flag int, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error // the names in dir are durable on return
}

// WriteFile replaces path with data so that, whatever fails and whenever the
// power goes, path holds either the old or the new content, whole; on return
// the new one is durable. The file gets exactly perm. Several writers of one
// path do not disturb each other: the last one wins.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return WriteFileOn(OS, path, data, perm)
}

// WriteFileOn is WriteFile on another disk.
func WriteFileOn(d Disk, path string, data []byte, perm fs.FileMode) error {
	if err := replace(d, path, data, perm, File.Sync); err != nil {
		return err
	}
	return Error("sync", filepath.Dir(path), d.SyncDir(filepath.Dir(path)))
}

// Replace is WriteFile without waiting for the disk: a reader never sees half
// a file, but a power cut may leave the old content, the new or none. It is
// for what the next start makes again.
func Replace(path string, data []byte, perm fs.FileMode) error {
	return replace(OS, path, data, perm, func(File) error { return nil })
}

// What the name of a file that is to replace another begins and ends with.
const tempPrefix, tempSuffix = ".touchmark-", ".new"

// replace writes a new file, never through a link, and renames it into place.
func replace(d Disk, path string, data []byte, perm fs.FileMode, sync func(File) error) error {
	temp := filepath.Join(filepath.Dir(path), tempPrefix+rand.Text()+tempSuffix)
	f, err := d.Open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Error("write", path, err)
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(Error("write", path, err), IgnoreMissing(d.Remove(temp)))
	}
	return nil
}

// WriteTemp makes data durable under the temporary name of path, for a Rename
// later. It is for directories with a single writer, which overwrites what a
// crash left of it.
func WriteTemp(d Disk, path string, data []byte, perm fs.FileMode) error {
	f, err := d.Open(TempName(path), os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return Error("write", path, err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(Error("write", path, err), IgnoreMissing(d.Remove(TempName(path))))
	}
	return nil
}

// RenameTemp puts what WriteTemp wrote into place. The name is durable after
// the directory's next sync.
func RenameTemp(d Disk, path string) error {
	if err := d.Rename(TempName(path), path); err != nil {
		return errors.Join(Error("write", path, err), IgnoreMissing(d.Remove(TempName(path))))
	}
	return nil
}

// TempName is in the same directory, so that the rename is atomic, and hidden
// from web servers and shells.
func TempName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// MkdirAll makes a directory and those above it; on return the names of all
// it made are durable.
func MkdirAll(dir string, perm fs.FileMode) error { return MkdirAllOn(OS, dir, perm) }

// MkdirAllOn is MkdirAll on another disk.
func MkdirAllOn(d Disk, dir string, perm fs.FileMode) error {
	err := d.Mkdir(dir, perm)
	up := filepath.Dir(dir)
	switch {
	case errors.Is(err, fs.ErrExist):
		if _, err := d.List(dir); err != nil { // a file is in the way
			return Error("create", dir, err)
		}
		err = nil // whoever made it may not have come to the sync
	case errors.Is(err, fs.ErrNotExist) && up != dir:
		if err := MkdirAllOn(d, up, perm); err != nil {
			return err
		}
		err = d.Mkdir(dir, perm)
	}
	if err != nil {
		return Error("create", dir, err)
	}
	return Error("sync", up, d.SyncDir(up))
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(d Disk, path string, limit int64) ([]byte, error) {
	f, err := d.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, Error("read", path, err)
	}
	b, err := readAll(f, path, limit)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, Error("read", path, err)
	}
	return b, nil
}

// readAll reads a file as long as it is when it is asked for its size.
func readAll(f File, path string, limit int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &TooLongError{Path: path, Limit: limit}
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// IgnoreMissing drops the error that says that there is no such file.
func IgnoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Truncate cuts a file durably; path is for the error.
func Truncate(f File, path string, size int64) error {
	if err := f.Truncate(size); err != nil {
		return Error("truncate", path, err)
	}
	return Error("sync", path, f.Sync())
}
