package serialport

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLocks bytes of /proc/locks are looked at: some 15,000 locks.
const maxLocks = 1 << 20

// busy is ErrBusy with the name of who holds the device's lock, where the kernel
// tells. It is a help for people: by now another may hold it, or nobody.
func busy(fd int) error {
	var st unix.Stat_t
	f, err := os.Open("/proc/locks")
	if err != nil || unix.Fstat(fd, &st) != nil {
		return ErrBusy
	}
	defer f.Close()
	locks, err := io.ReadAll(io.LimitReader(f, maxLocks))
	if err != nil {
		return ErrBusy
	}
	pid, ok := holder(string(locks), st.Dev, st.Ino)
	if !ok {
		return ErrBusy
	}
	return fmt.Errorf("%w: %sprocess %d", ErrBusy, program(pid), pid)
}

// holder finds the process that called flock for an inode in the text of
// proc_locks(5): "1: FLOCK ADVISORY WRITE 708 00:13:16 0 EOF".
func holder(locks string, dev, inode uint64) (pid int, ok bool) {
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), inode)
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != want {
			continue
		}
		pid, err := strconv.Atoi(f[4])
		return pid, err == nil && pid > 0 // 0: in another PID namespace
	}
	return 0, false
}

// program is the name of a process, quoted as it is a stranger's, and a comma;
// "" if it is gone.
func program(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%q, ", strings.TrimSpace(string(name)))
}
