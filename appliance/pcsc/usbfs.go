//go:build linux && !pcscd

package pcsc

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"touchmark/appliance/pcsc/ccid"
)

// bulkTransfer is struct usbdevfs_bulktransfer of <linux/usbdevice_fs.h>.
type bulkTransfer struct {
	endpoint, length, timeout uint32 // timeout in milliseconds; 0 would be none
	data                      unsafe.Pointer
}

// Requests of usbfs: _IOWR('U', 2, struct usbdevfs_bulktransfer),
// _IOR('U', 15, unsigned int), _IOR('U', 16, unsigned int).
const (
	usbBulk             = 3<<30 | unsafe.Sizeof(bulkTransfer{})<<16 | 'U'<<8 | 2
	usbClaimInterface   = 2<<30 | unsafe.Sizeof(uint32(0))<<16 | 'U'<<8 | 15
	usbReleaseInterface = 2<<30 | unsafe.Sizeof(uint32(0))<<16 | 'U'<<8 | 16
)

// usbfsPipe is an interface claimed through a device's node. The node is that of
// one device from its plugging in to its removal: after that, every call fails.
type usbfsPipe struct {
	node     *os.File
	device   ccid.Interface
	deadline time.Time
}

func claimUSB(path string, device ccid.Interface) (bulkPipe, error) {
	node, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", openCode(err), err)
	}
	p := &usbfsPipe{node: node, device: device}
	number := uint32(device.Number)
	if _, err := p.ioctl(usbClaimInterface, unsafe.Pointer(&number)); err != nil {
		return nil, errors.Join(fmt.Errorf("claiming the reader at %s: %w", path, err), node.Close())
	}
	return p, nil
}

// openCode: a node that is not there is a device that has just gone.
func openCode(err error) Errno {
	if errors.Is(err, os.ErrNotExist) {
		return ErrNoSmartcard
	}
	return ErrReaderUnavailable
}

func (p *usbfsPipe) Limit(d time.Duration) { p.deadline = time.Now().Add(d) }

func (p *usbfsPipe) Send(b []byte) error {
	n, err := p.bulk(p.device.Out, b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%w: the device took %d of %d bytes", ErrCommError, n, len(b))
	}
	return err
}

func (p *usbfsPipe) Receive(b []byte) (int, error) { return p.bulk(p.device.In, b) }

// bulk is one transfer. A device that stays silent for longer than silenceLimit
// will say nothing more.
func (p *usbfsPipe) bulk(endpoint byte, b []byte) (int, error) {
	left := min(time.Until(p.deadline), silenceLimit).Milliseconds()
	if left <= 0 {
		return 0, ErrTimeout
	}
	t := bulkTransfer{endpoint: uint32(endpoint), length: uint32(len(b)), timeout: uint32(left), data: unsafe.Pointer(unsafe.SliceData(b))}
	return p.ioctl(usbBulk, unsafe.Pointer(&t))
}

func (p *usbfsPipe) ioctl(request uintptr, argument unsafe.Pointer) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, p.node.Fd(), request, uintptr(argument))
	if errno != 0 {
		return 0, fmt.Errorf("%w: usbfs: %w", usbCode(errno), errno)
	}
	return int(n), nil
}

// usbCode says what an error of usbfs means
// (Documentation/driver-api/usb/error-codes.rst). A device that was pulled shows
// as a bus error until the hub has told of it.
func usbCode(errno unix.Errno) Errno {
	switch errno {
	case unix.ENODEV, unix.ESHUTDOWN, unix.ENOENT, unix.EPROTO, unix.EILSEQ, unix.ETIME:
		return ErrRemovedCard
	case unix.ETIMEDOUT:
		return ErrTimeout
	case unix.EBUSY:
		return ErrSharingViolation
	}
	return ErrCommError
}

func (p *usbfsPipe) Close() error {
	number := uint32(p.device.Number)
	_, err := p.ioctl(usbReleaseInterface, unsafe.Pointer(&number))
	return errors.Join(err, p.node.Close())
}
