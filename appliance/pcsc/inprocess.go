//go:build linux && !pcscd

package pcsc

import "sync"

// process serves the exported C functions.
var process = newTable()

// opening serialises Sweep, so that contexts made inside it are its own.
var opening sync.Mutex

// Register adds a backend, and returns a function that takes it out again
// (open handles stay). An appliance registers one, at start.
func Register(b Backend) (remove func()) { return process.register(b) }

// HasReader reports whether any reader is there to look for a token in.
func HasReader() bool {
	for _, b := range process.list() {
		if len(b.Readers()) > 0 {
			return true
		}
	}
	return false
}

// Sweep runs open, which opens a token through piv-go. Piv-go leaks its context
// and handle when it fails after connecting, and the token would stay locked;
// so if open fails, whatever it left behind is released.
func Sweep(open func() error) error {
	opening.Lock()
	defer opening.Unlock()
	mark := process.mark()
	err := open()
	if err != nil {
		process.releaseSince(mark)
	}
	return err
}
