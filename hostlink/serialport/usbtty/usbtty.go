// Package usbtty finds the serial device of the link among those on USB, by
// what the USB devices say of themselves and not by their names, which change
// with the order of plugging.
//
// # Format
//
// Read is the kernel's sysfs (Documentation/ABI/stable/sysfs-bus-usb): each tty
// is a link SYS/class/tty/NAME with a link "device"; one of the directories
// above where that leads is the USB device and holds idVendor, idProduct and,
// if the device has them, product and serial. udev is not needed; where it has
// made /dev/serial/by-id, its lasting names are used in what is said to people.
//
// # Guarantees
//
// A device is chosen only if it alone fits: nothing is guessed. What a USB
// device says of itself is a stranger's text: bounded, and quoted in messages.
// It proves nothing; who is at the other end, the link's layers above establish.
package usbtty

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds.
const (
	// maxAttribute bytes of a sysfs attribute are read: a USB string descriptor
	// holds at most 126 characters (USB 2.0 §9.6.7), 3 bytes each in UTF-8.
	maxAttribute = 400

	// maxLevels directories above the tty's are looked at for its USB device:
	// port and interface lie between; nothing has more.
	maxLevels = 4

	// maxListed devices are named in an error.
	maxListed = 16
)

// ID is a USB vendor and product id as sysfs and lsusb write it: "0403:6001".
type ID string

// Gadget is what a board's own USB port announces: the id that the Linux
// Foundation gives to composite gadgets, which others use too, and therefore
// also a product string that begins with this word.
const (
	Gadget        = ID("1d6b:0104")
	GadgetProduct = "Touchmark"
)

// ParseID reads four hex digits, a colon, four hex digits, in either case.
func ParseID(s string) (ID, error) {
	id := strings.ToLower(s)
	vendor, product, ok := strings.Cut(id, ":")
	if !ok || !isHex4(vendor) || !isHex4(product) {
		return "", fmt.Errorf("%q is not a USB id: write vendor and product as lsusb shows them, for example 0403:6001", s)
	}
	return ID(id), nil
}

func isHex4(s string) bool { return len(s) == 4 && strings.Trim(s, "0123456789abcdef") == "" }

// Auto is the word that stands for a device that Find is to look for.
const Auto = "auto"

// ParseAuto reads the name of a device where a path or "auto" may stand. "auto"
// means a board's own gadget; "auto:0403:6001,1a86:7523" besides adapters with
// these ids. Anything else is a path: auto is false.
func ParseAuto(device string) (ids []ID, auto bool, err error) {
	rest, auto := strings.CutPrefix(device, Auto+":")
	if !auto {
		return nil, device == Auto, nil
	}
	for s := range strings.SplitSeq(rest, ",") {
		id, err := ParseID(s)
		if err != nil {
			return nil, true, err
		}
		ids = append(ids, id)
	}
	return ids, true, nil
}

// Device is a tty on USB.
type Device struct {
	Path    string // in /dev
	ByID    string // udev's lasting name for it; "" if there is none
	ID      ID
	Product string // may be empty, like Serial
	Serial  string
}

// String names the device for people.
func (d Device) String() string {
	s := fmt.Sprintf("%s (%s %q", d.Path, d.ID, d.Product)
	if d.Serial != "" {
		s += fmt.Sprintf(", serial %q", d.Serial)
	}
	s += ")"
	if d.ByID != "" {
		s += " = " + d.ByID
	}
	return s
}

// Finder looks for the device of the link. The zero value finds only a board's
// own gadget.
type Finder struct {
	IDs []ID   // of adapters that may lead to the board
	Sys string // where sysfs is mounted; "" is /sys
	Dev string // where device nodes are; "" is /dev
}

// NoneError says that no device fits; Found are all ttys on USB.
type NoneError struct {
	IDs   []ID
	Found []Device
}

// ManyError says that several devices fit.
type ManyError struct{ Fit []Device }

// Error implements error.
func (e *NoneError) Error() string {
	wanted := fmt.Sprintf("%s %q", Gadget, GadgetProduct)
	for _, id := range e.IDs {
		wanted += ", " + string(id)
	}
	if len(e.Found) == 0 {
		return fmt.Sprintf("found no serial device on USB (looked for %s): plug the cable in, or write the path of the device", wanted)
	}
	return fmt.Sprintf("no serial device on USB is known to lead to the appliance (looked for %s): found %s; write %s:%s or the path of the right one",
		wanted, list(e.Found), Auto, e.Found[0].ID)
}

// Error implements error.
func (e *ManyError) Error() string {
	return fmt.Sprintf("more than one serial device on USB may lead to the appliance: %s; write the path of the right one, for example %s",
		list(e.Fit), e.Fit[0].lasting())
}

// lasting is the name to write into a configuration.
func (d Device) lasting() string {
	if d.ByID != "" {
		return d.ByID
	}
	return d.Path
}

func list(all []Device) string {
	var names []string
	for _, d := range all[:min(len(all), maxListed)] {
		names = append(names, d.String())
	}
	if more := len(all) - maxListed; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// Find returns the one device that leads to the board: a board's own gadget, or
// where none is plugged an adapter with one of the ids. The error is a
// *NoneError, a *ManyError, or says why sysfs cannot be read.
func (f Finder) Find() (Device, error) {
	all, err := f.List()
	if err != nil {
		return Device{}, err
	}
	fit := keep(all, func(d Device) bool { return d.ID == Gadget && strings.HasPrefix(d.Product, GadgetProduct) })
	if len(fit) == 0 {
		fit = keep(all, func(d Device) bool { return slices.Contains(f.IDs, d.ID) })
	}
	switch len(fit) {
	case 0:
		return Device{}, &NoneError{IDs: f.IDs, Found: all}
	case 1:
		return fit[0], nil
	}
	return Device{}, &ManyError{Fit: fit}
}

func keep(all []Device, want func(Device) bool) (some []Device) {
	for _, d := range all {
		if want(d) {
			some = append(some, d)
		}
	}
	return some
}

// List returns every tty on USB by name. Devices that vanish meanwhile are left
// out.
func (f Finder) List() ([]Device, error) {
	class := filepath.Join(or(f.Sys, "/sys"), "class/tty")
	entries, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("looking for serial devices: %w", err)
	}
	names := f.byID()
	var found []Device
	for _, e := range entries {
		if d, ok := describe(filepath.Join(class, e.Name(), "device")); ok {
			d.Path = filepath.Join(f.dev(), e.Name())
			d.ByID = names[d.Path]
			found = append(found, d)
		}
	}
	return found, nil
}

func (f Finder) dev() string { return or(f.Dev, "/dev") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// describe reads the USB device that a tty's "device" link belongs to, if it
// belongs to one.
func describe(link string) (Device, bool) {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return Device{}, false // most ttys have no device
	}
	for range maxLevels {
		vendor, product := attribute(dir, "idVendor"), attribute(dir, "idProduct")
		if id, err := ParseID(vendor + ":" + product); err == nil {
			return Device{ID: id, Product: attribute(dir, "product"), Serial: attribute(dir, "serial")}, true
		}
		dir = filepath.Dir(dir)
	}
	return Device{}, false
}

// attribute reads one line of sysfs; "" where there is none.
func attribute(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAttribute))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// byID maps device nodes to udev's lasting names, the first in order for each.
func (f Finder) byID() map[string]string {
	dir := filepath.Join(f.dev(), "serial/by-id")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no udev
	}
	names := map[string]string{}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		node, err := filepath.EvalSymlinks(name)
		if _, known := names[node]; err == nil && !known {
			names[node] = name
		}
	}
	return names
}
