package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
)

// Sticks finds USB sticks and mounts the first one that has a FAT file system, for
// the core to read.
type Sticks struct {
	mounted string     // the block device's name, "" for none
	failed  string     // those that could not be mounted …
	looks   int        // … so often
	stick   boot.Stick // what there is
}

// options of a stick: all of it is the core's, and names are as they are written.
var stickOptions = fmt.Sprintf("uid=%d,gid=%d,umask=077,errors=remount-ro", CoreID, CoreID)

const stickFlags = plain | unix.MS_RDONLY

// Look answers what is plugged in now.
func (s *Sticks) Look() boot.Stick {
	if s.mounted != "" {
		if _, err := os.Stat("/sys/class/block/" + s.mounted); err == nil {
			return s.stick
		}
		_ = unix.Unmount(StickDir, unix.MNT_DETACH) // its device is gone
		s.mounted, s.stick = "", boot.Stick{}
	}
	names := stickDevices("/sys/class/block")
	if len(names) == 0 {
		s.failed, s.stick = "", boot.Stick{}
		return s.stick
	}
	s.mount(names)
	return s.stick
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

func (s *Sticks) mount(names []string) {
	all := strings.Join(names, " ")
	if s.failed != all {
		s.failed, s.looks, s.stick = all, 0, boot.Stick{}
	}
	if s.looks == patient {
		return
	}
	s.looks++
	var err error
	for _, name := range names {
		if err = unix.Mount("/dev/"+name, StickDir, "vfat", stickFlags, stickOptions); err == nil {
			s.mounted, s.failed = name, ""
			s.stick = readStick(StickDir)
			return
		}
	}
	if s.looks == patient {
		s.stick = boot.Stick{Present: true, Err: fmt.Errorf("the stick cannot be read (%w): it needs a FAT file system", err)}
	}
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

// Writable lets the stick be written, or no longer. What was written is on it when
// it no longer can be.
func (s *Sticks) Writable(yes bool) error {
	flags := uintptr(stickFlags)
	if yes {
		flags &^= unix.MS_RDONLY
	}
	if err := unix.Mount("", StickDir, "", flags|unix.MS_REMOUNT, stickOptions); err != nil {
		return fmt.Errorf("the stick: %w", err)
	}
	return nil
}
