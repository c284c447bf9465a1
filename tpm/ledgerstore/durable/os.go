package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OS is the file system of this machine.
var OS Disk = osDisk{}

type osDisk struct{}

type osFile struct{ *os.File }

// Size is that of a file or directory; anything else has none, and may never end.
func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return 0, &fs.PathError{Op: "read", Path: f.Name(), Err: errNoFile}
	}
	return st.Size(), nil
}

var errNoFile = errors.New("a pipe, socket or device, not a file")

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
	return nil, Error("lock", dir, err)
}

func (osDisk) Mkdir(dir string, perm fs.FileMode) error { return os.Mkdir(dir, perm) }

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

// Open does not wait for whoever writes into a pipe: what is read may be somebody
// else's directory.
func (osDisk) Open(path string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is os.Remove, whose second try, as of a directory, hides why the first
// failed: of a file that is gone, though its disk failed, it says that there is none.
func (osDisk) Remove(path string) error {
	err := unix.Unlink(path)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Rmdir(path)
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

func (osDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Reserve finds out whether size bytes can be written in dir, and leaves
// nothing behind.
func Reserve(dir string, size int64) error {
	f, err := os.CreateTemp(dir, ".touchmark-*")
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		_, err = f.Write(make([]byte, size))
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
