//go:build linux && pcscd

package pcsc

// #cgo LDFLAGS: -lpcsclite
import "C"

// Mode says how this build reaches cards: "in-process",
// "in-process+emulated" or "pcscd".
const Mode = "pcscd"

// HasReader is true: only the daemon knows.
func HasReader() bool { return true }

// Sweep runs open. What piv-go leaks when it fails stays until the process
// ends: the handles are the system library's.
func Sweep(open func() error) error { return open() }
