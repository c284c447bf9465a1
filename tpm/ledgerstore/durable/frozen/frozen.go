// Package frozen lets a disk that takes no writes be read by programs that write: what they write stays in memory, as long as
// the Disk does, and is read back from there. Nothing on the disk changes.
//
// It is for a log whose disk is read-only, full or failing (package ledgerstore, Options.ReadOnly): to be read it has to be
// opened, and opening one completes what a crash left undone. Nobody may take what stands here for durable.
//
// It is safe for several goroutines.
package frozen

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

// pageSize is how much of a file is held in memory where one byte of it was written.
const pageSize = 4096

type disk struct {
	durable.Disk // what is read

	mu    sync.Mutex // guards what follows, and all nodes
	room  int        // pages that may still be held
	nodes map[string]*node
}

// On is a disk that is read, with what is written held in memory: up to limit bytes in all its life, more is EROFS.
func On(d durable.Disk, limit int64) durable.Disk {
	return &disk{Disk: d, room: int(limit / pageSize), nodes: map[string]*node{}}
}

// node is a file that was opened, or that is gone.
type node struct {
	gone  bool
	path  string       // on the disk; "": it is not there
	users int          // open Files of it
	file  durable.File // while there are any, nil if it is not on the disk
	kept  int64        // bytes of it that still count
	size  int64
	pages map[int64]*[pageSize]byte
}

func (d *disk) Mkdir(dir string, _ fs.FileMode) error {
	return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.EROFS}
}

func (d *disk) SyncDir(string) error { return nil }

// List is the disk's, with what was made here and without what was removed.
func (d *disk) List(dir string) ([]string, error) {
	names, err := d.Disk.List(dir)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	for path, n := range d.nodes {
		if filepath.Dir(path) == filepath.Clean(dir) {
			all[filepath.Base(path)] = !n.gone
		}
	}
	maps.DeleteFunc(all, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(all)), nil
}

func (d *disk) Open(path string, flag int, _ fs.FileMode) (durable.File, error) {
	path = filepath.Clean(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.node(path)
	if err != nil {
		return nil, err
	}
	switch {
	case n.gone && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	case n.gone:
		*n = node{pages: map[int64]*[pageSize]byte{}}
	case flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EEXIST}
	}
	if err := n.use(d.Disk); err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return &file{disk: d, node: n}, nil
}

// node is what has that name; the caller holds the lock.
func (d *disk) node(path string) (*node, error) {
	if n := d.nodes[path]; n != nil {
		return n, nil
	}
	f, err := d.Disk.Open(path, os.O_RDONLY, 0)
	if durable.IgnoreMissing(err) != nil {
		return nil, err
	}
	n := &node{gone: err != nil}
	if err == nil {
		n.path, n.pages = path, map[int64]*[pageSize]byte{}
		n.size, err = f.Size()
		n.kept = n.size
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
	}
	d.nodes[path] = n
	return n, nil
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.node(filepath.Clean(from))
	if err != nil {
		return err
	}
	if n.gone {
		return &fs.PathError{Op: "rename", Path: from, Err: unix.ENOENT}
	}
	d.nodes[filepath.Clean(from)], d.nodes[filepath.Clean(to)] = &node{gone: true}, n
	return nil
}

func (d *disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.node(filepath.Clean(path))
	if err != nil {
		return err
	}
	if n.gone {
		return &fs.PathError{Op: "remove", Path: path, Err: unix.ENOENT}
	}
	d.nodes[filepath.Clean(path)] = &node{gone: true} // whoever has it open goes on with it
	return nil
}

// use opens what is on the disk, if nobody has it open.
func (n *node) use(d durable.Disk) (err error) {
	if n.users == 0 && n.path != "" {
		if n.file, err = d.Open(n.path, os.O_RDONLY, 0); err != nil {
			return err
		}
	}
	n.users++
	return nil
}

func (n *node) truncate(size int64) {
	for at, p := range n.pages {
		switch {
		case at >= size:
			delete(n.pages, at)
		case at+pageSize > size:
			clear(p[size-at:])
		}
	}
	n.size, n.kept = size, min(n.kept, size)
}

// read fills b from a place before the end with what is there; what nobody wrote is zero.
func (n *node) read(b []byte, at int64) error {
	clear(b)
	if n.file != nil && at < n.kept {
		if _, err := n.file.ReadAt(b[:min(int64(len(b)), n.kept-at)], at); err != nil {
			return err
		}
	}
	for page := at - at%pageSize; page < at+int64(len(b)); page += pageSize {
		if p := n.pages[page]; p != nil {
			from := max(page, at)
			copy(b[from-at:], p[from-page:])
		}
	}
	return nil
}

// page is one that can be written.
func (n *node) page(at int64, room *int) (*[pageSize]byte, error) {
	if p := n.pages[at]; p != nil {
		return p, nil
	}
	if *room == 0 {
		return nil, unix.EROFS
	}
	p := new([pageSize]byte)
	if err := n.read(p[:], at); err != nil {
		return nil, err
	}
	*room--
	n.pages[at] = p
	return p, nil
}

// file is one that is open.
type file struct {
	disk *disk
	node *node
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := int(min(int64(len(b)), max(f.node.size-at, 0)))
	if err := f.node.read(b[:n], at); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, at int64) (n int, err error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	for n < len(b) {
		pos := at + int64(n)
		p, err := f.node.page(pos-pos%pageSize, &f.disk.room)
		if err != nil {
			return n, err
		}
		n += copy(p[pos%pageSize:], b[n:])
		f.node.size = max(f.node.size, at+int64(n))
	}
	return n, nil
}

func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.node.truncate(size)
	return nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.node.size, nil
}

func (f *file) Chmod(fs.FileMode) error { return nil }
func (f *file) Sync() error             { return nil }

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := f.node
	if n.users--; n.users > 0 || n.file == nil {
		return nil
	}
	under := n.file
	n.file = nil
	return under.Close()
}
