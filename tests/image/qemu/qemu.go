// Package qemu starts the board's image in QEMU's machine "virt", under TCG, and talks to its monitor.
package qemu

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is a board: two processors, 256 MiB.
type Machine struct {
	Processor string // A72 or Newer; "": A72

	Image   string   // folder of a build of the image
	Initrd  string   // its root; "": the build's
	Words   []string // more of the command line, in place of those that say the same
	Card    string   // file that is the card
	Stick   string   // file that a stick is made of when it is plugged in; "": there is none
	TPM     string   // control socket of the software TPM
	Line    string   // socket of the serial adapter, which is in its port while something is connected (Plug)
	Redir   string   // socket that an emulated token connects to
	Monitor string   // socket on which the monitor calls (Listen)
	More    []string // arguments of QEMU, which come last
}

// CommandLine is the kernel's: the build's and more words. A word takes the place of those with its key: the board starts
// nothing if it is told something twice.
func (m Machine) CommandLine() (string, error) {
	line, err := os.ReadFile(filepath.Join(m.Image, "cmdline.txt"))
	words := strings.Fields(string(line))
	for _, w := range m.Words {
		if key, _, ok := strings.Cut(w, "="); ok {
			words = slices.DeleteFunc(words, func(old string) bool { return strings.HasPrefix(old, key+"=") })
		}
	}
	return strings.Join(append(words, m.Words...), " "), err
}

// Root is the file of the initramfs.
func (m Machine) Root() string {
	if m.Initrd == "" {
		return filepath.Join(m.Image, "initrd.zst")
	}
	return m.Initrd
}

// Kernel is the file of the kernel.
func (m Machine) Kernel() string { return filepath.Join(m.Image, "Image") }

// Command is the program and its arguments. Its standard streams are the board's console.
func (m Machine) Command() ([]string, error) {
	line, err := m.CommandLine()
	if err != nil {
		return nil, err
	}
	argv := append(Virt(cmp.Or(m.Processor, A72)), "-m", "256", "-kernel", m.Kernel(), "-initrd", m.Root(), "-append", line,
		"-blockdev", "driver=raw,node-name=card,file.driver=file,file.node-name=medium,file.filename="+m.Card, "-device", "virtio-blk-pci,drive=card",
		"-chardev", "socket,id=tpm,path="+m.TPM, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis-device,tpmdev=tpm",
		"-device", "qemu-xhci,id=usb", "-chardev", "socket,id=line,server=on,wait=off,path="+m.Line, "-device", "usb-serial,chardev=line",
		"-chardev", "socket,id=redir,server=on,wait=off,path="+m.Redir, "-device", "usb-redir,chardev=redir",
		"-qmp", "unix:"+m.Monitor)
	if m.Stick != "" {
		argv = append(argv, "-blockdev", "driver=raw,node-name=stick,file.driver=file,file.locking=off,file.filename="+m.Stick)
	}
	return append(argv, m.More...), nil
}

// Processors that a machine can have. To this emulator they differ by what the kernel does for what they lack: at each system
// call and each copy from or to a program of an A72 it switches page tables, and the emulator forgets all addresses.
const (
	A72   = "cortex-a72"    // a Raspberry Pi 4's: without PAN and E0PD
	Newer = "max,pauth=off" // the emulator's own, with both; pointers are not authenticated, which is slow where it is emulated
)

// Virt are the program and those arguments that any machine like this has.
func Virt(processor string) []string { return append(Base("virt"), "-cpu", processor, "-smp", "2") }

// Base are the program and those arguments that a machine of any kind has.
func Base(machine string) []string {
	return []string{"qemu-system-aarch64", "-accel", "tcg", "-machine", machine, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
}
