package machine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
)

// Sticks finds USB sticks and mounts the first one that has a FAT file system, for
// the core to read. A stick may take as long as it likes, or for ever, to be mounted, to
// take what is written, to be given up: that happens aside, and nobody waits for it.
// The zero value is ready.
type Sticks struct {
	found atomic.Pointer[boot.Stick] // what there is, nil: nothing

	baton   sync.Mutex // is held by who looks at sticks or changes them; guards what follows
	blocks  string     // where the kernel lists disks; "": /sys/class/block
	mountAt func(device string, flags uintptr) error
	mounted string // the block device's name, "" for none
	failed  string // those that could not be mounted …
	looks   int    // … so often
}

// options of a stick: all of it is the core's, and names are as they are written.
var stickOptions = fmt.Sprintf("uid=%d,gid=%d,umask=077,errors=remount-ro", CoreID, CoreID)

const stickFlags = plain | unix.MS_RDONLY

// mountStick mounts a device; none mounts what is mounted anew.
func mountStick(device string, flags uintptr) error {
	if device == "" {
		return unix.Mount("", StickDir, "", flags|unix.MS_REMOUNT, stickOptions)
	}
	return unix.Mount(device, StickDir, "vfat", flags, stickOptions)
}

// Look answers what was plugged in when somebody last looked, and has somebody look again.
func (s *Sticks) Look() boot.Stick {
	if s.baton.TryLock() { // else a stick still takes its time
		go func() {
			defer s.baton.Unlock()
			stick := s.look()
			s.found.Store(&stick)
		}()
	}
	if found := s.found.Load(); found != nil {
		return *found
	}
	return boot.Stick{}
}

// look looks, with the baton held.
func (s *Sticks) look() boot.Stick {
	s.defaults()
	stick := boot.Stick{}
	if found := s.found.Load(); found != nil {
		stick = *found
	}
	if s.mounted != "" {
		if _, err := os.Stat(filepath.Join(s.blocks, s.mounted)); err == nil {
			return stick
		}
		_ = unix.Unmount(StickDir, unix.MNT_DETACH) // its device is gone
		s.mounted, stick = "", boot.Stick{}
	}
	names := stickDevices(s.blocks)
	if len(names) == 0 {
		s.failed = ""
		return boot.Stick{}
	}
	return s.mount(names, stick)
}

func (s *Sticks) defaults() {
	s.blocks = cmp.Or(s.blocks, "/sys/class/block")
	if s.mountAt == nil {
		s.mountAt = mountStick
	}
}

// stickDevices are the names of partitions and disks on USB, partitions first.
func stickDevices(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var whole []string
	for _, e := range entries[:min(len(entries), maxDevices)] {
		name := e.Name()
		if !strings.HasPrefix(name, "sd") {
			continue
		}
		if last := name[len(name)-1]; last >= '0' && last <= '9' {
			names = append(names, name)
		} else {
			whole = append(whole, name)
		}
	}
	return append(names, whole...)
}

// patient is how many looks a stick has: the kernel tells of a disk before it has made
// its node, and before it has read its partitions.
const patient = 10

func (s *Sticks) mount(names []string, stick boot.Stick) boot.Stick {
	all := strings.Join(names, " ")
	if s.failed != all {
		s.failed, s.looks, stick = all, 0, boot.Stick{}
	}
	if s.looks == patient {
		return stick
	}
	s.looks++
	var err error
	for _, name := range names {
		if err = s.mountAt("/dev/"+name, stickFlags); err == nil {
			s.mounted, s.failed = name, ""
			return readStick(StickDir)
		}
	}
	if s.looks == patient {
		return boot.Stick{Present: true, Err: fmt.Errorf("the stick cannot be read (%w): it needs a FAT file system", err)}
	}
	return stick
}

// readStick reads what a stick asks for.
func readStick(dir string) boot.Stick {
	b, err := readBounded(filepath.Join(dir, boot.CeremonyFile), 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return boot.Stick{Present: true}
	}
	stick := boot.Stick{Present: true, Err: err}
	if err == nil {
		stick.Ceremony, stick.Err = boot.ParseCeremony(b)
	}
	return stick
}

// Writable lets the stick be written, or no longer. The answer, one, says how that went: what
// was written is on the stick when it can no longer be. It may never come.
func (s *Sticks) Writable(yes bool) <-chan error {
	flags := uintptr(stickFlags)
	if yes {
		flags &^= unix.MS_RDONLY
	}
	answer := make(chan error, 1)
	go func() {
		s.baton.Lock()
		defer s.baton.Unlock()
		s.defaults()
		err := s.mountAt("", flags)
		if err != nil {
			err = fmt.Errorf("the stick: %w", err)
		}
		answer <- err
	}()
	return answer
}
