package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"touchmark/hostlink/serialport/usbtty"
)

// Gadget is the board's own USB port as a serial adapter (CDC ACM; Linux
// Documentation/usb/gadget_configfs.rst), which package usbtty of the host finds.
type Gadget struct {
	Config string // where configfs is mounted
	UDC    string // sysfs directory of the ports that can be a device
}

// BoardGadget is where a kernel has it.
var BoardGadget = Gadget{Config: "/sys/kernel/config", UDC: "/sys/class/udc"}

const gadgetName = "touchmark"

// attributes are those of the gadget: the id that the Linux Foundation gives to
// composite gadgets. No serial number: a host can tell boards apart by their logs.
var attributes = []struct{ path, value string }{
	{"idVendor", "0x" + string(usbtty.Gadget[:4])},
	{"idProduct", "0x" + string(usbtty.Gadget[5:])},
	{"bcdDevice", "0x0100"},
	{"strings/0x409/manufacturer", "Touchmark"},
	{"strings/0x409/product", usbtty.GadgetProduct + " signing appliance"},
	{"configs/c.1/MaxPower", "0"}, // the cable brings no power
	{"configs/c.1/strings/0x409/configuration", "serial line"},
}

// Make makes it, as far as it is not there yet, and gives it the one port. The
// node of the line is then there.
func (g Gadget) Make() error {
	dir := filepath.Join(g.Config, "usb_gadget", gadgetName)
	for _, d := range []string{"strings/0x409", "configs/c.1/strings/0x409", "functions/acm.0"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return fmt.Errorf("the USB gadget: %w", err)
		}
	}
	for _, a := range attributes {
		if err := os.WriteFile(filepath.Join(dir, a.path), []byte(a.value), 0o644); err != nil {
			return fmt.Errorf("the USB gadget: %w", err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "functions/acm.0"), filepath.Join(dir, "configs/c.1/acm.0")); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("the USB gadget: %w", err)
	}
	port, err := g.port()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "UDC"), []byte(port), 0o644)
	}
	if err != nil {
		return fmt.Errorf("the USB gadget: %w", err)
	}
	return nil
}

// port waits for the first port that can be a device.
func (g Gadget) port() (string, error) {
	return await(wall, deviceLimit, func() (string, error) {
		entries, err := os.ReadDir(g.UDC)
		if err != nil || len(entries) == 0 {
			return "", errors.New("no USB port of the machine can be a device")
		}
		return entries[0].Name(), nil
	})
}
