// Package board lists the machines that an image is built for: what their kernel is told, what their boot loader reads,
// where their devices are.
package board

import (
	"fmt"
	"strings"
)

// Names of the files in boot.img, as config.txt there has them.
const (
	ConfigFile      = "config.txt"
	CommandLineFile = "cmdline.txt"
	KernelFile      = "kernel8.img"
	TreeFile        = "board.dtb"
	InitramfsFile   = "initrd.zst"
	StartFile       = "start4.elf" // the firmware, under the names that its own loader looks for
	FixupFile       = "fixup4.dat"
)

// Kinds of kernels (package image/kernel builds them).
const (
	BoardKernel = "board" // for the Raspberry Pi boards
	QEMUKernel  = "qemu"  // the same and what QEMU's machine has
)

// Board is one machine.
type Board struct {
	Name     string // as on the command line: rpi4
	Title    string
	Kernel   string   // variant of image/kernel
	Tree     string   // device tree of the kernel's build; none where the machine brings its own
	Firmware bool     // a Raspberry Pi's, in boot.img
	Options  []string // what the first process is told of its devices (package appliance/boot)
}

// Boards are all there are.
var Boards = []Board{
	{Name: "rpi4", Title: "Raspberry Pi 4 B, cable on USB-C", Kernel: BoardKernel, Tree: "touchmark-rpi4.dtb", Firmware: true, Options: []string{"link=gadget"}},
	{Name: "cm4", Title: "Raspberry Pi Compute Module 4, cable on a USB-UART adapter", Kernel: BoardKernel, Tree: "touchmark-cm4.dtb", Firmware: true, Options: []string{"link=/dev/ttyAMA1"}},
	{Name: "qemu", Title: "QEMU -M virt, for tests", Kernel: QEMUKernel, Options: []string{"data=/dev/vda4", "slots=/dev/vda", "slot=2", "link=/dev/ttyUSB0"}},
}

// Names are those of all boards.
func Names() string {
	var names []string
	for _, b := range Boards {
		names = append(names, b.Name)
	}
	return strings.Join(names, ", ")
}

// Named is the board of a name.
func Named(name string) (Board, error) {
	for _, b := range Boards {
		if b.Name == name {
			return b, nil
		}
	}
	return Board{}, fmt.Errorf("no board %q: there are %s", name, Names())
}

// CommandLine is what the kernel is told. It is in boot.img, so a board with secure boot takes no other.
func (b Board) CommandLine() string {
	words := []string{
		"console=ttyAMA0,115200",            // the kernel's messages, and the operator's terminal
		"rdinit=/init",                      // the first process is ours; the root is the initramfs
		"panic=10",                          // ten seconds to read why, then a new start
		"page_alloc.shuffle=1",              // which page is free next cannot be foreseen
		"rng_core.default_quality=512",      // half of what the chip's and the TPM's generator give counts: else the kernel gathers its own for a second
		"sysctl.kernel.yama.ptrace_scope=3", // nobody reads another's memory, not even root
	}
	for _, o := range append([]string{"board=" + b.Name}, b.Options...) {
		words = append(words, "touchmark."+o)
	}
	return strings.Join(words, " ") + "\n"
}

// BootConfig is config.txt in boot.img: what the boot loader loads of it, and that it adds nothing of its own.
func (b Board) BootConfig() string {
	return strings.Join([]string{
		"# Made by touchmark-image. This file is inside boot.img: a board with secure boot reads no other.",
		"arm_64bit=1",
		"force_turbo=1", // the chip's own speed: without a governor it would stay at the one it begins with, a third of that
		"kernel=" + KernelFile,
		"device_tree=" + TreeFile,
		"initramfs " + InitramfsFile + " followkernel",
		"cmdline=" + CommandLineFile,
		"auto_initramfs=0",
		"camera_auto_detect=0",
		"display_auto_detect=0",
		"disable_splash=1",
		"enable_uart=1",
		"uart_2ndstage=0", // the console belongs to the kernel
		"",
	}, "\n")
}

// SlotConfig is config.txt beside boot.img: a board without secure boot needs to be told that there is one.
const SlotConfig = "# Made by touchmark-image. The system is in boot.img.\nboot_ramdisk=1\n"
