//go:build imagetest

package image

import (
	"strings"
	"testing"
)

// TestNothingToOpen: the kernel of the image has no sockets of any kind, takes no code, and lets nobody, root neither, reach its
// memory or another process.
func TestNothingToOpen(t *testing.T) {
	r := newRig(t)
	r.withGuest("probe")
	r.boot()
	r.heard(0, "probe done")
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := 0
	for _, line := range r.lines {
		if what, ok := strings.CutPrefix(line, "probe "); ok && what != "done" {
			tried++
			if strings.HasSuffix(what, "<nil>") {
				t.Error(what)
			}
			if strings.HasPrefix(what, "socket") && !strings.HasSuffix(what, "function not implemented") {
				t.Errorf("%s: the kernel has some network code", what)
			}
		}
	}
	if tried < 40 {
		t.Errorf("only %d things were tried", tried)
	}
}

// TestGadget: over the board's own USB port as a serial adapter (on a controller that the kernel emulates), the real host daemon
// finds the log and has a file signed.
func TestGadget(t *testing.T) {
	r := newRig(t, "touchmark.link=gadget")
	r.withGuest("bridge")
	r.ceremony()
	r.boot()
	r.enrol()
	r.host()
	r.sign(r.file("over-the-gadget"))
	r.clean()
}
