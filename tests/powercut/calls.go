package powercut

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is what happens at the chosen call.
type Mode string

// The modes.
const (
	Count  Mode = "count"  // nothing: the calls are listed
	Fail   Mode = "fail"   // not carried out, reported as failed
	After  Mode = "after"  // carried out, reported as failed
	Torn   Mode = "torn"   // a write of half the bytes, reported as failed
	Kill   Mode = "kill"   // the program is killed before the call
	Freeze Mode = "freeze" // this call and all later ones that change anything fail: a disk remounted read-only
)

// Order tells the tracer what to do. Calls are those on files below Root, but
// for those in Root/Except.
type Order struct {
	Root   string
	Except []string
	Call   int // the call to hit, counted from 1
	Mode   Mode
	Errno  int
	Report string // file: a line for each call; the one that was hit is marked
}

func (o Order) encode() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}

// kind says where a system call names its file.
type kind int

const (
	byFD   kind = iota // first argument: descriptor
	byPath             // second: path, relative to the first
	byOpen             // the same, and flags
)

// call is a system call on files.
type call struct {
	name    string
	kind    kind
	changes bool
}

var watched = map[uint64]call{
	unix.SYS_OPENAT:     {"openat", byOpen, false},
	unix.SYS_READ:       {"read", byFD, false},
	unix.SYS_PREAD64:    {"pread", byFD, false},
	unix.SYS_WRITE:      {"write", byFD, true},
	unix.SYS_PWRITE64:   {"pwrite", byFD, true},
	unix.SYS_FSYNC:      {"fsync", byFD, true},
	unix.SYS_FDATASYNC:  {"fdatasync", byFD, true},
	unix.SYS_FTRUNCATE:  {"ftruncate", byFD, true},
	unix.SYS_FALLOCATE:  {"fallocate", byFD, true},
	unix.SYS_FSTAT:      {"fstat", byFD, false},
	unix.SYS_FCHMOD:     {"fchmod", byFD, true},
	unix.SYS_FLOCK:      {"flock", byFD, false},
	unix.SYS_GETDENTS64: {"getdents", byFD, false},
	unix.SYS_CLOSE:      {"close", byFD, false},
	unix.SYS_MKDIRAT:    {"mkdirat", byPath, true},
	unix.SYS_UNLINKAT:   {"unlinkat", byPath, true},
	unix.SYS_RENAMEAT:   {"renameat", byPath, true},
	unix.SYS_RENAMEAT2:  {"renameat2", byPath, true},
	unix.SYS_LINKAT:     {"linkat", byPath, true},
}

// path names the file of a call, "" if it has none.
func (c call) path(pid int, r *unix.PtraceRegs) string {
	if c.kind == byFD {
		return descriptor(pid, argument(r, 0))
	}
	path := text(pid, uintptr(argument(r, 1)))
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(descriptor(pid, argument(r, 0)), path)
	}
	return path
}

func (c call) changing(r *unix.PtraceRegs) bool {
	return c.changes || c.kind == byOpen && argument(r, 2)&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT) != 0
}

func descriptor(pid int, fd uint64) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(fd)))
	if err != nil {
		return ""
	}
	return path
}

// text reads a string from the program's memory, page by page: what follows
// its last page may not be there.
func text(pid int, at uintptr) string {
	var all []byte
	for page := uintptr(os.Getpagesize()); len(all) < unix.PathMax; {
		b := make([]byte, page-at%page)
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0)
		if err != nil || n == 0 {
			break
		}
		if path, _, ended := strings.Cut(string(b[:n]), "\x00"); ended {
			return string(all) + path
		}
		all, at = append(all, b[:n]...), at+uintptr(n)
	}
	return string(all)
}

// below reports whether the order is about this file.
func (o Order) below(path string) bool {
	if path != o.Root && !strings.HasPrefix(path, o.Root+"/") {
		return false
	}
	for _, e := range o.Except {
		if p := filepath.Join(o.Root, e); path == p || strings.HasPrefix(path, p+"/") {
			return false
		}
	}
	return true
}
