//go:build imagetest

package image

import (
	"os"
	"testing"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/tests/image/qemu"
)

// TestRaspberryPi: the image of a Raspberry Pi 4, as it is published, on the Raspberry Pi that QEMU has, a 3 B: kernel, root and
// command line out of the card's slot A, the card in the machine's reader, a stick with a ceremony on its USB. The boards' kernel
// starts with four processors, finds the card's partitions and the stick; the first process mounts the data partition, reads
// the slots and holds the ceremony, whose program says what that machine lacks: a TPM.
//
// That is no Raspberry Pi 4: the model has another chip (BCM2837, not BCM2711), on the device tree of testdata, no firmware that
// runs, no TPM on SPI, no USB port that is a device, no watchdog that waits. QEMU 9 has a Raspberry Pi 4, Debian 12's 7.2 has not.
func TestRaspberryPi(t *testing.T) {
	r := newRig(t)
	r.machine.Image, r.machine.Words = os.Getenv("TOUCHMARK_IMAGE_BOARD"), nil
	r.newCard()
	r.must(os.Truncate(r.path("card"), 2<<30)) // QEMU wants a power of two
	r.ceremony()
	argv := append(qemu.Base("raspi3b"), r.load(update.A)...)
	line, err := os.ReadFile(r.path(board.CommandLineFile))
	r.must(err)
	r.run("dtc", "-q", "-O", "dtb", "-o", r.path("dtb"), "testdata/raspi3b.dts")
	r.must(r.StartMachine(append(argv, "-dtb", r.path("dtb"), "-append", string(line),
		"-drive", "if=sd,format=raw,file="+r.path("card"),
		"-drive", "if=none,id=stick,format=raw,file="+r.path("stick"), "-device", "usb-storage,drive=stick"), r.hear))
	for _, words := range []string{ // of the kernel's log, which no other line breaks
		"SMP: Total of 4 processors activated.",
		"EXT4-fs (mmcblk0p4): mounted filesystem",
		"touchmark-init: the USB gadget: no USB port of the machine can be a device.",
		"touchmark-init: This board is not enrolled.",
		"touchmark-init: touchmark-appliance: the TPM: tpm: cannot open: stat /dev/tpmrm0: no such file or directory",
		"touchmark-init: The ceremony ended with code 4.",
		"touchmark-init: Take the stick out",
	} {
		r.heard(0, words)
	}
}
