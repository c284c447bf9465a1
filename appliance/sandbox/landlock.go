package sandbox

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is granted (Linux userspace-api/landlock, "Filesystem flags").
const (
	readAccess = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR

	writeAccess = readAccess | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER

	deviceAccess = readAccess | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	executeAccess = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE

	// fileAccess is what can be granted of a file that is no directory.
	fileAccess = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// generations are the versions of Landlock's interface that brought something of
// use here, and what is open without it.
var generations = []struct {
	abi    int
	files  uint64
	net    uint64
	scoped uint64
	open   string
}{
	{1, 1<<13 - 1, 0, 0, ""},
	{2, unix.LANDLOCK_ACCESS_FS_REFER, 0, 0, ""}, // without it nothing moves between directories
	{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0, 0, "truncating files"},
	{4, 0, unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, 0, "TCP"},
	{5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, 0, 0, "ioctls of devices"},
	{6, 0, 0, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL, "signals to other processes"},
}

// ruleset is Landlock's, open in the kernel; the zero value restricts nothing.
type ruleset struct {
	fd    int
	files uint64 // accesses that it is about
	some  bool
}

// newRuleset makes the rules of a profile, for a process that executes a program, as far as the kernel goes.
func newRuleset(p Profile, program string, r *Report) ruleset {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		r.miss("The kernel has no Landlock (%v): files are kept from it by their permissions only.", errno)
		return ruleset{}
	}
	attr := unix.LandlockRulesetAttr{}
	for _, g := range generations {
		if int(abi) >= g.abi {
			attr.Handled_access_fs |= g.files
			attr.Handled_access_net |= g.net
			attr.Scoped |= g.scoped
		} else if g.open != "" {
			r.miss("The kernel's Landlock (%d) does not limit %s.", abi, g.open)
		}
	}
	// The fields that are used; a kernel takes a longer structure if the rest is zero.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, pointer(&attr), unsafe.Sizeof(attr), 0)
	s := ruleset{int(fd), attr.Handled_access_fs, true}
	var err error
	if errno != 0 {
		err = errno
	} else {
		err = s.addAll(p, program, r)
	}
	if err != nil { // a disk that fails is no reason not to say so
		r.miss("Landlock cannot be set up (%v): files are kept from it by their permissions only.", err)
		return ruleset{}
	}
	return s
}

// grant is an access to some files.
type grant struct {
	paths  []string
	access uint64
}

func (s ruleset) addAll(p Profile, program string, r *Report) error {
	for _, g := range []grant{{p.Read, readAccess}, {p.Write, writeAccess}, {p.Devices, deviceAccess}, {p.Execute, executeAccess}} {
		for _, path := range g.paths {
			if err := s.add(there(path, r), g.access); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	for _, g := range own(p, program) {
		for _, path := range g.paths {
			if err := s.add(path, g.access); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// own is what the second stage itself needs, if it is there.
func own(p Profile, program string) []grant {
	grants := []grant{{[]string{program}, executeAccess}}
	if p.LockMemory {
		grants = append(grants, grant{[]string{swaps}, readAccess})
	}
	if dynamic(program) {
		grants = append(grants, grant{[]string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"}, executeAccess | readAccess})
	}
	return grants
}

// there is a path, or of one that does not exist yet the directory that it, or
// what is above it, is to appear in.
func there(path string, r *Report) string {
	at := path
	for _, err := os.Lstat(at); errors.Is(err, fs.ErrNotExist) && at != "/" && at != "."; _, err = os.Lstat(at) {
		at = filepath.Dir(at)
	}
	if at != path {
		r.miss("%s is not there yet: all of %s is open to it.", path, at)
	}
	return at
}

// dynamic tells whether a program has shared libraries, which no shipped one has.
func dynamic(program string) bool {
	f, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}

// add grants an access to a file, or to a directory and all below it.
func (s ruleset) add(path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fileAccess
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access & s.files, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(s.fd), unix.LANDLOCK_RULE_PATH_BENEATH, pointer(&rule), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// restrict holds this thread to the rules, and all that is started from it.
func (s ruleset) restrict() error {
	if !s.some {
		return nil
	}
	defer func() { _ = unix.Close(s.fd) }()
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(s.fd), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// DeviceDirs are the directories that a device's node is in, where it is seen
// again after it was unplugged: a rule about a node itself ends with it. Of a name
// that leads nowhere yet it is all devices.
func DeviceDirs(path string) []string {
	dirs := []string{filepath.Dir(path)}
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return append(dirs, "/dev")
	}
	return append(dirs, filepath.Dir(to))
}
