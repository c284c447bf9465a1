//go:build imagetest

package image

import (
	"slices"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
	"touchmark/tpm/ledger"
)

// TestWarmRestart: the machine starts anew and its TPM is not reset, as on a board that has no wire for that: before the
// enrolment, which then goes as ever; in good order, as its first process ends it, so that the kernel tells the TPM; and at
// once, as a panic or a watchdog ends it. An enrolled board comes up, says that its platform authorization is not this start's,
// goes on with the register where the log left it, and signs; the auditor finds nothing. After off and on the display says no
// more of it.
func TestWarmRestart(t *testing.T) {
	r := newRig(t)
	r.withGuest("restart")
	r.ceremony()
	r.tpm.Unwire()
	r.boot("-action", "reboot=reset")
	r.heard(0, "not enrolled")
	end := r.mark()
	r.tpm.Record()
	r.do("system_reset", nil)
	r.heard(end, "not enrolled")
	r.notReset()
	r.enrol()
	r.must(r.tpm.PlatformLocked()) // since the ceremony
	r.host()
	r.sign(r.file("before"))

	r.warm("in-good-order", func() {
		r.do("device_add", map[string]any{"driver": "usb-tablet", "id": "tablet"}) // which the guest waits for
	})
	r.must(r.tpm.PlatformLocked())
	r.warm("at-once", func() { r.do("system_reset", nil) })
	r.off()
	r.boot()
	v, _ := r.seen(0, "that it is up", func(v operator.View) bool { return v.Ask == operator.AskTime })
	if contains(v, notThisStarts) {
		t.Errorf("after off and on: %s", v.Warning)
	}
}

const notThisStarts = "the TPM's platform authorization is not this start's"

// warm has a board that is enrolled start anew without its TPM, and sign.
func (r *rig) warm(name string, restart func()) {
	r.t.Helper()
	boots, mark := r.clean(), r.Views().Mark()
	r.tpm.Record()
	restart()
	_, mark = r.seen(mark, "whose the platform's authorization is", func(v operator.View) bool { return contains(v, notThisStarts) })
	r.must(r.Unlock(r.ctx, mark-1, world.PIN)) // from that view on: those before it are of the start before
	r.notReset()
	r.sign(r.file(name))
	if after := r.clean(); after != boots+1 {
		r.t.Errorf("%s: %d boot entries, then %d", name, boots, after)
	}
	var newest *ledger.Boot
	for _, e := range r.entries() {
		if b, ok := e.body.(*ledger.Boot); ok {
			newest = b
		}
	}
	if newest.PCR == [32]byte{} || newest.Recovery != "clean" {
		r.t.Errorf("%s: the boot entry says that the register was at %x, recovery %s", name, newest.PCR, newest.Recovery)
	}
}

// notReset is that the TPM has met a start of the machine and nobody started the TPM since it was told to record.
func (r *rig) notReset() {
	r.t.Helper()
	all := r.tpm.Recorded()
	code := func(code uint32) bool {
		return slices.ContainsFunc(all, func(c swtpm.Recorded) bool { return c.Code == code && c.RC == 0 })
	}
	if code(swtpm.Startup) || !code(swtpm.SelfTest) {
		r.t.Errorf("the TPM was reset, or no kernel asked it anything: %x", all)
	}
	r.t.Logf("the TPM's commands of a warm start: %x", all)
}
