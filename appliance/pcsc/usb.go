//go:build linux && !pcscd

package pcsc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"touchmark/appliance/pcsc/ccid"
)

// bulkPipe is a claimed CCID interface: its bulk endpoints with a clock.
type bulkPipe interface {
	ccid.Pipe
	// Limit bounds all that follows until the next call of Limit: what is not
	// over by then fails with ErrTimeout, also when the device has sent in time.
	Limit(time.Duration)
	// Close lets go of the interface.
	Close() error
}

// usbReaders is the backend of card readers on USB, found in sysfs and spoken to
// through usbfs. A reader is there as long as its device is; a YubiKey is reader
// and card in one.
type usbReaders struct {
	devices string // sysfs directory of USB devices
	// claim opens a device's node and claims the interface.
	claim func(node string, device ccid.Interface) (bulkPipe, error)
}

// USBBackend is a reader for each CCID device on the machine's USB. The kernel
// needs CONFIG_USB and its usbfs below /dev/bus/usb; no daemon, no socket.
func USBBackend() Backend {
	return &usbReaders{devices: "/sys/bus/usb/devices", claim: claimUSB}
}

// usbDevice is a device with a usable CCID interface.
type usbDevice struct {
	reader string // its name here
	node   string // below /dev
	ccid   ccid.Interface
}

func (r *usbReaders) Readers() []string {
	var names []string
	for _, d := range r.scan() {
		names = append(names, d.reader)
	}
	return names
}

// scan lists the readers that are plugged in, in the order of their ports.
// What vanishes while it is looked at, or makes no sense, is none.
func (r *usbReaders) scan() []usbDevice {
	entries, err := os.ReadDir(r.devices)
	if err != nil {
		return nil
	}
	var found []usbDevice
	for _, e := range entries[:min(len(entries), maxUSBDevices)] {
		if strings.Contains(e.Name(), ":") { // an interface, not a device
			continue
		}
		if d, err := lookAt(filepath.Join(r.devices, e.Name())); err == nil {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b usbDevice) int { return strings.Compare(a.reader, b.reader) })
	return found
}

// lookAt reads one device's directory in sysfs
// (Documentation/ABI/stable/sysfs-bus-usb and testing/sysfs-bus-usb).
func lookAt(dir string) (usbDevice, error) {
	var number [3]uint64
	for i, name := range []string{"bConfigurationValue", "busnum", "devnum"} {
		text, err := attribute(dir, name)
		if err != nil {
			return usbDevice{}, err
		}
		if number[i], err = strconv.ParseUint(text, 10, 8); err != nil {
			return usbDevice{}, err
		}
	}
	descriptors, err := readBounded(filepath.Join(dir, "descriptors"), ccid.MaxDescriptors)
	if err != nil {
		return usbDevice{}, err
	}
	device, err := ccid.FindInterface(descriptors, byte(number[0]))
	if err != nil {
		return usbDevice{}, err
	}
	product, _ := attribute(dir, "product") // not every device has a name
	return usbDevice{
		reader: strings.TrimSpace("USB " + filepath.Base(dir) + " " + printable(product)),
		node:   fmt.Sprintf("/dev/bus/usb/%03d/%03d", number[1], number[2]),
		ccid:   device,
	}, nil
}

func attribute(dir, name string) (string, error) {
	b, err := readBounded(filepath.Join(dir, name), maxAttribute)
	return strings.TrimSpace(string(b)), err
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// printable keeps what a device says of itself fit for a line on a terminal.
func printable(s string) string {
	kept := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s)
	return kept[:min(len(kept), maxProduct)]
}

func (r *usbReaders) Connect(reader string) (Card, error) {
	for _, d := range r.scan() {
		if d.reader != reader {
			continue
		}
		pipe, err := r.claim(d.node, d.ccid)
		if err != nil {
			return nil, err
		}
		c := &usbCard{pipe: pipe, slot: ccid.NewSlot(pipe, d.ccid)}
		pipe.Limit(ConnectLimit)
		if err := c.powerOn(); err != nil {
			return nil, errors.Join(err, pipe.Close())
		}
		return c, nil
	}
	return nil, ErrUnknownReader
}

// usbCard is one insertion: a claimed interface of one device. A token that is
// plugged in again is another device, which this one can not reach.
type usbCard struct {
	pipe bulkPipe
	slot *ccid.Slot
}

// powerOn powers off first: the answer to that also tells what a process that
// was killed has left in the device from what answers us.
func (c *usbCard) powerOn() error {
	if err := c.slot.PowerOff(); err != nil {
		return cardError(err)
	}
	_, err := c.slot.PowerOn()
	return cardError(err)
}

func (c *usbCard) Transmit(apdu []byte) ([]byte, error) {
	c.pipe.Limit(ExchangeLimit)
	response, err := c.slot.Transmit(apdu)
	return response, cardError(err)
}

func (c *usbCard) Reset() error {
	c.pipe.Limit(ConnectLimit)
	return c.powerOn()
}

func (c *usbCard) Close() error {
	c.pipe.Limit(closeLimit)
	err := c.slot.PowerOff()
	return errors.Join(cardError(err), c.pipe.Close())
}

// cardError gives an error of the exchange its PC/SC code. One that has a code,
// from the pipe, keeps it; a device that breaks the protocol is ErrCommError.
func cardError(err error) error {
	var failed *ccid.FailedError
	var code Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &code):
		return err
	case errors.Is(err, ccid.ErrNoCard):
		return fmt.Errorf("%w: %w", ErrNoSmartcard, err)
	case errors.As(err, &failed):
		return fmt.Errorf("%w: %w", ErrUnresponsiveCard, err)
	}
	return fmt.Errorf("%w: %w", ErrCommError, err)
}
