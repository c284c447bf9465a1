// Package profiles has what the board's processes need once they run, for who starts them in a sandbox and for themselves.
package profiles

import (
	"path/filepath"
	"strings"

	"touchmark/appliance/sandbox"
)

// Core is where the core's files and devices are; "" for what there is not.
type Core struct {
	Dir, RunDir string // its data, its status
	TPM         string // a device
	Buttons     string // the chip that they are on
	Card        string // whose images it replaces
	BootID      string // file that names the machine's start, for Card
	Orders      string // where sticks are mounted
	USB         bool   // its token is on USB
	Sockets     bool   // it reaches emulated hardware over unix sockets
}

// usbDevices is where the kernel has a node for each USB device.
const usbDevices = "/dev/bus/usb"

// Profile is its files, the TPM, tokens, buttons, and to look at what is plugged in.
func (c Core) Profile() sandbox.Profile {
	p := sandbox.Profile{Read: []string{"/sys"}, Write: []string{c.Dir, c.RunDir}, UnixSockets: c.Sockets, LockMemory: true}
	if c.USB {
		p.Devices = append(p.Devices, usbDevices)
	}
	if c.TPM != "" {
		p.Devices = append(p.Devices, c.TPM)
	}
	if c.Orders != "" { // a file system that is mounted there later is found from what is above
		p.Read = append(p.Read, c.Orders)
		if up := filepath.Dir(filepath.Clean(c.Orders)); up != "/" {
			p.Read = append(p.Read, up)
		}
	}
	if c.Card != "" {
		p.Devices, p.Read = append(p.Devices, c.Card), append(p.Read, c.BootID)
	}
	if c.Buttons != "" {
		p.Devices = append(p.Devices, c.Buttons)
	}
	return p
}

// auto is the word of a device that is looked for (package usbtty, which core is not to contain).
const auto = "auto"

// Link is what the link process needs: the device of the line, which comes and goes.
func Link(device string) sandbox.Profile {
	if device == auto || strings.HasPrefix(device, auto+":") {
		return sandbox.Profile{Devices: []string{"/dev"}, Read: []string{"/sys"}}
	}
	return sandbox.Profile{Devices: sandbox.DeviceDirs(device)}
}

// Keeper is what its keeper needs: that, and to start it.
func Keeper(device string) sandbox.Profile {
	p := Link(device)
	p.Children = true
	return p
}
