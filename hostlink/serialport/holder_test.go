package serialport

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestHolderIsNamed: who finds the device in use reads by whom.
func TestHolderIsNamed(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	if err := unix.Flock(int(slave.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = Open(slave.Name(), DefaultBaud)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), program(os.Getpid())+fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("%v", err)
	}
}

func TestHolder(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 11 00:13:16 0 EOF
1: -> FLOCK  ADVISORY  WRITE 12 00:13:16 0 EOF
2: FLOCK  ADVISORY  WRITE 13 00:13:161 0 EOF
3: FLOCK  ADVISORY  WRITE 14 08:13:16 0 EOF
short
4: FLOCK  ADVISORY  WRITE 708 00:13:16 0 EOF
5: FLOCK  ADVISORY  WRITE 0 00:13:17 0 EOF
6: FLOCK  ADVISORY  WRITE x 00:13:18 0 EOF
`
	for inode, want := range map[uint64]int{16: 708, 17: 0, 18: 0, 19: 0} {
		pid, ok := holder(locks, unix.Mkdev(0, 0x13), inode)
		if ok != (want > 0) || ok && pid != want {
			t.Errorf("inode %d: %d, %v, want %d", inode, pid, ok, want)
		}
	}
	if name := program(1 << 30); name != "" {
		t.Errorf("nobody is called %q", name)
	}
}
