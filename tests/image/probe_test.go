//go:build imagetest

package image

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// TestNothingToOpen: the kernel of the image has no sockets of any kind, takes no code, and lets nobody, root neither, reach its
// memory or another process. Each attempt has to fail in the one way that a kernel without the feature, or one that is locked
// down, has: one that knew a call would find its arguments wrong instead.
func TestNothingToOpen(t *testing.T) {
	r := newRig(t, "loglevel=1") // that no word of the kernel's breaks a line
	r.withGuest("probe")
	r.boot()
	r.heard(0, "probe done")
	refused := map[string]string{ // by what was tried; all else is a system call that there is not
		"ptrace":                   "operation not permitted", // Yama
		"a PCI device's registers": "operation not permitted", // lockdown
	}
	for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/proc/sysrq-trigger", "/sys/power/disk"} {
		refused[path] = "open " + path + ": no such file or directory"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := 0
	for _, line := range r.lines {
		line, ok := strings.CutPrefix(line, "probe ")
		what, said, ok2 := strings.Cut(line, ": ")
		if !ok || !ok2 {
			continue
		}
		tried++
		if want := cmp.Or(refused[what], "function not implemented"); !strings.HasSuffix(said, want) {
			t.Errorf("%s: %s, want %s", what, said, want)
		}
	}
	if want := 8*4 + 1 + 24 + len(refused); tried != want {
		t.Errorf("%d things were tried, want %d", tried, want)
	}
	if !slices.Contains(r.lines, "lockdown none integrity [confidentiality], <nil>") {
		t.Errorf("the kernel does not say that it is locked down: %q", r.lines)
	}
}

// TestGadget: over the board's own USB port as a serial adapter (on a controller that the kernel emulates), the real host daemon
// finds the log and has a file signed. Then the root has what boot.md says, and nothing else.
func TestGadget(t *testing.T) {
	r := newRig(t, "touchmark.link=gadget", "loglevel=1")
	r.withGuest("bridge")
	r.ceremony()
	r.boot()
	r.enrol()
	r.host()
	r.sign(r.file("over-the-gadget"))
	r.clean()
	r.hasRoot()
}
