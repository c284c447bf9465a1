package sandbox

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockMemory keeps every page, as soon as it is used, out of swap: a typed PIN
// has copies in places that no program can name (buffers of the terminal, of the
// token's library), so single pages are not enough. With a bound (RLIMIT_MEMLOCK)
// the runtime would be refused memory one day; then it is left, and said where
// there is swap at all.
func lockMemory(r *Report) {
	if unbounded() && unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) == nil {
		return
	}
	if swapping(swaps) {
		r.miss("The PIN may reach the swap device: memory cannot be locked (RLIMIT_MEMLOCK).")
	}
}

// unbounded: this process may lock as much as it likes (mlock(2)).
func unbounded() bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	var have [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0])
	return err == nil && have[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

// swaps is where the kernel lists swap devices.
const swaps = "/proc/swaps"

// swapping tells whether a list of swap devices has one, below its heading.
// Without a list nobody knows: then it may.
func swapping(list string) bool {
	text, err := os.ReadFile(list)
	return err != nil || bytes.Count(bytes.TrimSpace(text), []byte("\n")) > 0
}

func pointer[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
