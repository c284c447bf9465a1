// Package disktest is a disk in memory, for tests of what must survive: its
// calls fail when told to, and when its power is cut it forgets what was not
// synced, in any way a file system may.
//
// What a power cut leaves: of each file what was synced, with any of the
// writes after that, whole, torn or not at all; of each directory the names
// that were synced, with any of the changes after that. A sync that fails
// leaves its writes in memory but takes them for clean, as Linux does: a later
// sync does not bring them to the disk.
package disktest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/durable"
)

// ErrPower is what every call answers after the power was cut.
var ErrPower = errors.New("the power is off")

// Fault is what happens at a call.
type Fault int

// The faults. After Cut every call fails until Kill or PowerCut.
const (
	NotApplied Fault = iota // it fails and has done nothing
	Applied                 // it fails and has been done
	Torn                    // a write fails halfway; for other calls Applied
	Cut                     // the power goes before the call
)

// Faults are all of them.
var Faults = []Fault{NotApplied, Applied, Torn, Cut}

// Call is a call that is about to be made.
type Call struct {
	Op, Path string
	Changes  bool // something on the disk, or what of it survives
}

// Hook says what happens at a call: nothing if err is nil and the fault is not
// Cut. It must not call the disk.
type Hook func(Call) (Fault, error)

// Disk is a durable.Disk. The zero value is not usable: New.
type Disk struct {
	mu     sync.Mutex // guards everything
	names  map[string]*node
	stable map[string]*node // names that are durable
	loose  []change         // of names, since their directory's last sync
	locked map[string]bool

	calls  int
	failAt int
	fault  Fault
	err    error
	off    bool
	hook   Hook
	lies   func() bool // a sync does nothing; nil: never
	room   int64       // bytes that may still be written; negative: any
	frozen bool        // read-only
}

// node is a file, or a directory if dir.
type node struct {
	dir    bool
	data   []byte  // as it is read now
	stable []byte  // as it is on disk
	loose  []write // since the last sync
	doomed []write // that a failed sync took for clean
}

// write is a change of a file's content; of its length only if cut.
type write struct {
	at  int64
	b   []byte
	cut bool
}

// change is a change of a name: to nothing if node is nil.
type change struct {
	path, from string // from: the name that goes with it, "" unless renamed
	node       *node
}

// New is an empty disk with one directory.
func New(dir string) *Disk {
	d := &Disk{names: map[string]*node{}, stable: map[string]*node{}, locked: map[string]bool{}, room: -1}
	for p := filepath.Clean(dir); ; p = filepath.Dir(p) {
		d.names[p] = &node{dir: true}
		d.stable[p] = d.names[p]
		if p == filepath.Dir(p) {
			return d
		}
	}
}

// FailAt has the n-th call from now on fail, 1 being the next; 0 none.
func (d *Disk) FailAt(n int, f Fault, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.err, d.failAt = f, err, 0
	if n > 0 {
		d.failAt = d.calls + n
	}
}

// Intercept asks h about every call from now on, nil nobody. It is not cloned.
func (d *Disk) Intercept(h Hook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = h
}

// Pending reports whether the fault that FailAt ordered is still to come.
func (d *Disk) Pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failAt > d.calls
}

// Calls is how many there were.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// Lie has a sync do nothing whenever lies answers true, and say that it did.
func (d *Disk) Lie(lies func() bool) { d.lies = lies }

// Room leaves so many bytes until the disk is full; negative: no end.
func (d *Disk) Room(n int64) { d.room = n }

// Freeze makes the disk read-only, or writable again.
func (d *Disk) Freeze(yes bool) { d.frozen = yes }

// Kill ends the process that used the disk: locks are free, everything that
// was written is there, and calls work again.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.locked)
	d.off, d.failAt = false, 0
}

// Clone is an independent copy.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copies := map[*node]*node{nil: nil}
	of := func(n *node) *node {
		if _, ok := copies[n]; !ok {
			copies[n] = &node{n.dir, bytes.Clone(n.data), bytes.Clone(n.stable), slices.Clone(n.loose), slices.Clone(n.doomed)}
		}
		return copies[n]
	}
	c := &Disk{names: map[string]*node{}, stable: map[string]*node{}, locked: maps.Clone(d.locked), room: d.room, frozen: d.frozen, off: d.off}
	for p, n := range d.names {
		c.names[p] = of(n)
	}
	for p, n := range d.stable {
		c.stable[p] = of(n)
	}
	for _, ch := range d.loose {
		c.loose = append(c.loose, change{ch.path, ch.from, of(ch.node)})
	}
	return c
}

// PowerCut leaves what a power cut may leave: whatever pick decides, which
// answers one of 0…n-1. Then the disk works again.
func (d *Disk) PowerCut(pick func(n int) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ch := range d.loose {
		if pick(2) == 0 {
			ch.apply(d.stable)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(d.stable)) {
		if up := filepath.Dir(p); d.stable[up] == nil || !d.stable[up].dir {
			delete(d.stable, p) // its directory was lost
		}
	}
	d.names, d.loose = maps.Clone(d.stable), nil
	for _, p := range slices.Sorted(maps.Keys(d.names)) {
		d.names[p].cut(pick)
	}
	clear(d.locked)
	d.off, d.failAt = false, 0
}

func (ch change) apply(names map[string]*node) {
	if ch.from != "" {
		delete(names, ch.from)
	}
	if ch.node == nil {
		delete(names, ch.path)
	} else {
		names[ch.path] = ch.node
	}
}

// cut makes the file what is left of it.
func (n *node) cut(pick func(n int) int) {
	for _, w := range append(n.doomed, n.loose...) {
		if part, ok := w.torn(pick); ok {
			n.stable = part.apply(n.stable)
		}
	}
	n.data, n.loose, n.doomed = bytes.Clone(n.stable), nil, nil
}

// torn is what of a write reached the disk: all, nothing, its beginning or its
// end, cut where it matters: within and after the header of a record, in the
// middle, before the last byte.
func (w write) torn(pick func(n int) int) (write, bool) {
	if w.cut || len(w.b) < 2 {
		return w, pick(2) == 0
	}
	points := []int{1, 4, 5, 8, 9, 10, len(w.b) / 2, len(w.b) - 1}
	switch i := pick(3 + len(points)); {
	case i == 0:
		return w, true
	case i == 1:
		return w, false
	case i == 2:
		half := len(w.b) / 2
		return write{at: w.at + int64(half), b: w.b[half:]}, true
	default:
		return write{at: w.at, b: w.b[:min(points[i-3], len(w.b))]}, true
	}
}

func (w write) apply(data []byte) []byte {
	if w.cut {
		if w.at <= int64(len(data)) {
			return data[:w.at:w.at]
		}
		return append(data, make([]byte, w.at-int64(len(data)))...)
	}
	if end := w.at + int64(len(w.b)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[w.at:], w.b)
	return data
}

// do runs a call unless it is to fail. torn, if not nil, is what it does when
// it fails halfway.
func (d *Disk) do(c Call, torn, call func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.off {
		return ErrPower
	}
	if d.frozen && c.refused() {
		return unix.EROFS
	}
	fault, failure, due := d.due(c)
	switch {
	case !due:
		return call()
	case fault == Cut:
		d.off = true
		return ErrPower
	case fault == NotApplied:
		return failure
	case fault == Torn && torn != nil:
		call = torn
	}
	if err := call(); err != nil {
		return err
	}
	return failure
}

// refused reports whether a disk that is read-only fails the call: it syncs, and
// says that a directory is there already.
func (c Call) refused() bool {
	return c.Changes && c.Op != "sync" && c.Op != "syncdir" && c.Op != "mkdir"
}

// due is what goes wrong with this call, if anything does.
func (d *Disk) due(c Call) (Fault, error, bool) {
	if d.hook != nil {
		if f, err := d.hook(c); err != nil || f == Cut {
			return f, err, true
		}
	}
	return d.fault, d.err, d.calls == d.failAt
}

// Lock is durable.Disk's.
func (d *Disk) Lock(dir string) (c io.Closer, err error) {
	err = d.do(Call{"lock", dir, false}, nil, func() error {
		n := d.names[dir]
		switch {
		case n == nil:
			return unix.ENOENT
		case d.locked[dir]:
			return &durable.LockedError{Dir: dir}
		}
		d.locked[dir] = true
		c = closer(func() { delete(d.locked, dir) })
		return nil
	})
	if err != nil {
		c = nil
	}
	return c, err
}

type closer func()

func (c closer) Close() error { c(); return nil }

func (d *Disk) parent(path string) error {
	up := d.names[filepath.Dir(path)]
	switch {
	case up == nil:
		return unix.ENOENT
	case !up.dir:
		return unix.ENOTDIR
	}
	return nil
}

func (d *Disk) change(ch change) {
	ch.apply(d.names)
	d.loose = append(d.loose, ch)
}

// Mkdir is durable.Disk's.
func (d *Disk) Mkdir(dir string, _ fs.FileMode) error {
	return d.do(Call{"mkdir", dir, true}, nil, func() error {
		switch {
		case d.names[dir] != nil:
			return unix.EEXIST
		case d.frozen:
			return unix.EROFS
		}
		if err := d.parent(dir); err != nil {
			return err
		}
		d.change(change{path: dir, node: &node{dir: true}})
		return nil
	})
}

// List is durable.Disk's.
func (d *Disk) List(dir string) (names []string, err error) {
	err = d.do(Call{"list", dir, false}, nil, func() error {
		n := d.names[dir]
		switch {
		case n == nil:
			return unix.ENOENT
		case !n.dir:
			return unix.ENOTDIR
		}
		for p := range d.names {
			if p != dir && filepath.Dir(p) == dir {
				names = append(names, filepath.Base(p))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// Open is durable.Disk's.
func (d *Disk) Open(path string, flag int, _ fs.FileMode) (f durable.File, err error) {
	err = d.do(Call{"open", path, flag&(os.O_RDWR|os.O_WRONLY|os.O_CREATE) != 0}, nil, func() error {
		if err := d.parent(path); err != nil {
			return err
		}
		n := d.names[path]
		switch {
		case n == nil && flag&os.O_CREATE == 0:
			return unix.ENOENT
		case n == nil:
			n = &node{}
			d.change(change{path: path, node: n})
		case flag&os.O_EXCL != 0:
			return unix.EEXIST
		case n.dir:
			return unix.EISDIR
		}
		if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
			n.write(write{cut: true})
		}
		f = &file{disk: d, path: path, node: n}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Rename is durable.Disk's.
func (d *Disk) Rename(from, to string) error {
	return d.do(Call{"rename", to, true}, nil, func() error {
		n := d.names[from]
		if n == nil {
			return unix.ENOENT
		}
		d.change(change{path: to, from: from, node: n})
		return nil
	})
}

// Remove is durable.Disk's.
func (d *Disk) Remove(path string) error {
	return d.do(Call{"remove", path, true}, nil, func() error {
		if d.names[path] == nil {
			return unix.ENOENT
		}
		for p := range d.names {
			if strings.HasPrefix(p, path+"/") {
				return unix.ENOTEMPTY
			}
		}
		d.change(change{path: path})
		return nil
	})
}

// SyncDir is durable.Disk's.
func (d *Disk) SyncDir(dir string) error {
	return d.do(Call{"syncdir", dir, true}, nil, func() error {
		if d.names[dir] == nil {
			return unix.ENOENT
		}
		if d.lies != nil && d.lies() {
			return nil
		}
		var left []change
		for _, ch := range d.loose {
			if filepath.Dir(ch.path) == dir {
				ch.apply(d.stable)
			} else {
				left = append(left, ch)
			}
		}
		d.loose = left
		return nil
	})
}

type file struct {
	disk *Disk
	path string
	node *node
}

func (n *node) write(w write) {
	n.data = w.apply(n.data)
	n.loose = append(n.loose, w)
}

func (f *file) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do(Call{"read", f.path, false}, nil, func() error {
		if at < int64(len(f.node.data)) {
			n = copy(b, f.node.data[at:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *file) WriteAt(b []byte, at int64) (n int, err error) {
	put := func(k int) error {
		w := write{at: at, b: bytes.Clone(b[:k])}
		if f.disk.room >= 0 {
			grown := max(at+int64(k)-int64(len(f.node.data)), 0)
			if grown > f.disk.room {
				w.b = w.b[:max(int64(k)-(grown-f.disk.room), 0)]
			}
			f.disk.room -= min(grown, f.disk.room)
		}
		f.node.write(w)
		if n = len(w.b); n < k {
			return unix.ENOSPC
		}
		return nil
	}
	err = f.disk.do(Call{"write", f.path, true}, func() error { return put(len(b) / 2) }, func() error { return put(len(b)) })
	return n, err
}

func (f *file) Truncate(size int64) error {
	return f.disk.do(Call{"truncate", f.path, true}, nil, func() error {
		f.node.write(write{at: size, cut: true})
		return nil
	})
}

func (f *file) Size() (n int64, err error) {
	err = f.disk.do(Call{"size", f.path, false}, nil, func() error { n = int64(len(f.node.data)); return nil })
	return n, err
}

func (f *file) Sync() error {
	done := false
	err := f.disk.do(Call{"sync", f.path, true}, nil, func() error {
		done = true
		if f.disk.lies == nil || !f.disk.lies() {
			f.node.sync()
		}
		return nil
	})
	if !done && err != nil && !errors.Is(err, ErrPower) {
		f.disk.mu.Lock()
		f.node.doomed, f.node.loose = append(f.node.doomed, f.node.loose...), nil
		f.disk.mu.Unlock()
	}
	return err
}

// sync brings to the disk what is not taken for clean.
func (n *node) sync() {
	for _, w := range n.loose {
		n.stable = w.apply(n.stable)
	}
	n.loose, n.doomed = nil, nil
}

func (f *file) Chmod(fs.FileMode) error {
	return f.disk.do(Call{"chmod", f.path, true}, nil, func() error { return nil })
}
func (f *file) Close() error { return nil }
