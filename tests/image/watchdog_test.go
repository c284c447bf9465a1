//go:build imagetest

package image

import (
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// bite is the event that QEMU tells when its watchdog was not fed.
const bite = "WATCHDOG"

// TestWatchdog: a board with a watchdog comes up, is enrolled, signs and has run longer than the watchdog waits, by the
// machine's own clock, and it has not bitten. Then the first process's loop hangs, while the kernel, the core and the link go on:
// it bites, the board starts anew by itself, says that and has kept the kernel's last words; and signs.
func TestWatchdog(t *testing.T) {
	r := newRig(t)
	r.withGuest("stuck")
	r.ceremony()
	r.boot(append(r.keepsWords(), "-device", "i6300esb")...) // it waits 30 seconds
	r.enrol()
	r.host()
	r.sign(r.file("before"))
	r.heard(0, "stuck: the board has run for 40s")
	events, err := r.monitor.Happened()
	r.must(err)
	if slices.Contains(events, bite) {
		t.Errorf("the watchdog was not fed: %q", events)
	}

	mark := r.Views().Mark()
	r.do("device_add", map[string]any{"driver": "usb-tablet", "id": "tablet"}) // which the guest waits for
	r.must(r.monitor.Await(bite))
	_, mark = r.seen(mark, "that it was started anew", func(v operator.View) bool { return contains(v, "started anew without losing its power") })
	r.must(r.Unlock(r.ctx, mark-1, world.PIN)) // from that view on: those before it are of the start before
	r.sign(r.file("after-the-bite"))
	r.clean()
	r.off()
	if said := r.kept("restart", "console-ramoops-0"); !strings.Contains(said, "stuck: a device never answers from here on") {
		t.Errorf("the data partition does not have the last words:\n%s", said)
	}
}

// TestWatchdogLeft: a watchdog that the process has left that fed it bites all the same: closing its device, as the kernel does
// at a process's end, does not stop it.
func TestWatchdogLeft(t *testing.T) {
	r := newRig(t, "i6300esb.heartbeat=5") // seconds
	r.withGuest("leave")
	r.boot("-device", "i6300esb", "-action", "reboot=reset")
	r.heard(0, "feed: <nil>")
	r.heard(0, "leave: who fed the watchdog has ended, <nil>")
	r.must(r.monitor.Await(bite))
	r.must(r.monitor.Await("RESET"))
}
