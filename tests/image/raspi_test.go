//go:build imagetest

package image

import (
	"testing"

	"touchmark/tests/image/qemu"
)

// TestRaspberryPi: on the Raspberry Pi that QEMU has, a 3 B, the kernel starts and the image's first process comes to its first
// words: it has no data partition. That is the chip's processor, timer, interrupt controllers and console, on the device tree of
// testdata, and no more: the model has another chip than the boards (BCM2837, not BCM2711), no firmware that runs, no TPM on
// SPI, no USB port that is a device; a Raspberry Pi 4 comes with QEMU 9, Debian 12 has 7.2. The kernel is QEMU's variant, which
// is the boards' and drivers of QEMU's devices (package kernel).
func TestRaspberryPi(t *testing.T) {
	r := newRig(t)
	r.run("dtc", "-q", "-O", "dtb", "-o", r.path("dtb"), "testdata/raspi3b.dts")
	r.must(r.StartMachine(append(qemu.Base("raspi3b"), "-kernel", r.machine.Kernel(), "-initrd", r.machine.Root(), "-dtb", r.path("dtb"), "-append", r.commandLine()), r.hear))
	r.heard(0, "Touchmark: The data partition /dev/vda4 is not there")
}
