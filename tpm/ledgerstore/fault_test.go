package ledgerstore

import (
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

// faultDisk is the real disk whose n-th call fails: not done at all, done in
// part (writes) or done and reported failed. After that everything fails, as
// on a dead disk, until the test opens the store with another disk.
type faultDisk struct {
	durable.Disk
	mu     sync.Mutex
	calls  int
	failAt int // 1 is the first call; 0 never
	after  bool
	dead   bool
	err    error
}

func newFaultDisk(failAt int, after bool) *faultDisk {
	return &faultDisk{Disk: durable.OS, failAt: failAt, after: after, err: unix.EIO}
}

// do runs f unless this call is to fail.
func (d *faultDisk) do(f func() error) error {
	d.mu.Lock()
	d.calls++
	hit := d.calls == d.failAt
	dead := d.dead
	d.dead = d.dead || hit
	d.mu.Unlock()
	switch {
	case dead, hit && !d.after:
		return d.err
	case hit:
		if err := f(); err != nil {
			return err
		}
		return d.err
	}
	return f()
}

func (d *faultDisk) List(dir string) (names []string, err error) {
	err = d.do(func() error { names, err = d.Disk.List(dir); return err })
	return names, err
}
func (d *faultDisk) Mkdir(dir string, perm fs.FileMode) error {
	return d.do(func() error { return d.Disk.Mkdir(dir, perm) })
}
func (d *faultDisk) Rename(from, to string) error {
	return d.do(func() error { return d.Disk.Rename(from, to) })
}
func (d *faultDisk) Remove(path string) error {
	return d.do(func() error { return d.Disk.Remove(path) })
}
func (d *faultDisk) SyncDir(dir string) error {
	return d.do(func() error { return d.Disk.SyncDir(dir) })
}

func (d *faultDisk) Open(path string, flag int, perm fs.FileMode) (f durable.File, err error) {
	err = d.do(func() error {
		f, err = d.Disk.Open(path, flag, perm)
		return err
	})
	if err != nil {
		if f != nil {
			return nil, closeQuietly(f, err)
		}
		return nil, err
	}
	return &faultFile{File: f, disk: d}, nil
}

func closeQuietly(c io.Closer, err error) error {
	if cerr := c.Close(); cerr != nil {
		return cerr
	}
	return err
}

type faultFile struct {
	durable.File
	disk *faultDisk
}

// WriteAt leaves half of the bytes behind when it fails "after".
func (f *faultFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do(func() error {
		half := b
		if f.disk.after && f.disk.dead {
			half = b[:len(b)/2]
		}
		n, err = f.File.WriteAt(half, at)
		return err
	})
	return n, err
}
func (f *faultFile) ReadAt(b []byte, at int64) (n int, err error) {
	derr := f.disk.do(func() error { n, err = f.File.ReadAt(b, at); return nil })
	if derr != nil {
		return 0, derr
	}
	return n, err
}
func (f *faultFile) Truncate(size int64) error {
	return f.disk.do(func() error { return f.File.Truncate(size) })
}
func (f *faultFile) Sync() error { return f.disk.do(f.File.Sync) }
func (f *faultFile) Size() (n int64, err error) {
	derr := f.disk.do(func() error { n, err = f.File.Size(); return err })
	return n, derr
}
