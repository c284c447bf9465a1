//go:build linux && pcscd

package pcsc

// #cgo pkg-config: libpcsclite
// #cgo LDFLAGS: -lpcsclite -Wl,--wrap=SCardEstablishContext -Wl,--wrap=SCardReleaseContext
// #include "system.h"
import "C"

import "sync"

// Mode says how this build reaches cards: "in-process",
// "in-process+emulated" or "pcscd".
const Mode = "pcscd"

// HasReader is true: only the daemon knows.
func HasReader() bool { return true }

// opening serialises Sweep, so that contexts made inside it are its own.
var opening sync.Mutex

// Sweep runs open, which opens a token through piv-go. Piv-go leaks its context
// and handle when it fails after connecting, and the token would stay locked;
// so if open fails, whatever it left behind is released.
func Sweep(open func() error) error {
	opening.Lock()
	defer opening.Unlock()
	mark := C.touchmark_pcsc_mark()
	err := open()
	if err != nil {
		C.touchmark_pcsc_release_since(mark)
	}
	return err
}
