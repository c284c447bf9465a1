package ccid

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Interface is what must be known of a device's CCID interface.
type Interface struct {
	Number     byte // of the interface, to claim it
	In, Out    byte // addresses of the bulk endpoints
	PacketSize int  // bytes in a packet of In, a power of two
	MaxMessage int  // bytes in a message, with its header, in either direction
	Extended   bool // extended APDUs, and so messages in parts
}

// ErrNoInterface means that the device has no CCID interface.
var ErrNoInterface = errors.New("ccid: the device is no card reader")

// errUnusable explains why a CCID interface is not used.
func errUnusable(format string, a ...any) error {
	return fmt.Errorf("ccid: this reader can not be used: "+format, a...)
}

// Types of descriptors (USB 2.0 table 9-5; CCID §5.1), and their lengths.
const (
	typeConfiguration, lenConfiguration = 0x02, 9
	typeInterface, lenInterface         = 0x04, 9
	typeEndpoint, lenEndpoint           = 0x05, 7
	typeCCID, lenCCID                   = 0x21, 54

	classSmartCard = 0x0b
	protocolBulk   = 0x00 // not ICCD's (01, 02)
	transferBulk   = 0x02
	directionIn    = 0x80
)

// dwFeatures: what the reader exchanges with the host.
const (
	levelMask     = 0x00070000
	levelShort    = 0x00020000
	levelExtended = 0x00040000
	protocolT1    = 0x02 // in dwProtocols
)

// FindInterface finds the first CCID interface in what Linux shows as a USB
// device's "descriptors": the device's, then each configuration's with all that
// belongs to it. Only the active configuration counts.
func FindInterface(descriptors []byte, configuration byte) (Interface, error) {
	if len(descriptors) > MaxDescriptors {
		return Interface{}, fmt.Errorf("%w: descriptors of %d bytes", ErrMalformed, len(descriptors))
	}
	var f finder
	for rest := descriptors; len(rest) > 0; {
		n := int(rest[0])
		if n < 2 || n > len(rest) {
			return Interface{}, fmt.Errorf("%w: a descriptor of %d bytes", ErrMalformed, n)
		}
		f.take(rest[:n], configuration)
		rest = rest[n:]
	}
	if !f.found {
		return Interface{}, ErrNoInterface
	}
	return f.result()
}

// finder collects what belongs to the first CCID interface.
type finder struct {
	active, inside, found bool
	out                   Interface
	features, protocols   uint32
	maxMessage            uint32
	described             bool
}

func (f *finder) take(d []byte, configuration byte) {
	switch {
	case d[1] == typeConfiguration && len(d) >= lenConfiguration:
		f.active, f.inside = d[5] == configuration, false
	case d[1] == typeInterface && len(d) >= lenInterface:
		f.inside = f.active && !f.found && d[3] == 0 && d[5] == classSmartCard && d[7] == protocolBulk
		if f.inside {
			f.found, f.out.Number = true, d[2]
		}
	case !f.inside:
	case d[1] == typeCCID && len(d) >= lenCCID:
		f.described = true
		f.protocols = binary.LittleEndian.Uint32(d[6:])
		f.features = binary.LittleEndian.Uint32(d[40:])
		f.maxMessage = binary.LittleEndian.Uint32(d[44:])
	case d[1] == typeEndpoint && len(d) >= lenEndpoint && d[3]&0x03 == transferBulk:
		f.endpoint(d[2], binary.LittleEndian.Uint16(d[4:]))
	}
}

func (f *finder) endpoint(address byte, packet uint16) {
	if address&directionIn != 0 {
		f.out.In, f.out.PacketSize = address, int(packet)
	} else {
		f.out.Out = address
	}
}

func (f *finder) result() (Interface, error) {
	size := f.out.PacketSize
	switch {
	case !f.described:
		return Interface{}, errUnusable("it does not describe itself")
	case f.out.In == 0 || f.out.Out == 0:
		return Interface{}, errUnusable("it lacks a bulk endpoint")
	case size < 8 || size > maxPacket || size&(size-1) != 0:
		return Interface{}, errUnusable("packets of %d bytes", size)
	case f.features&levelMask != levelShort && f.features&levelMask != levelExtended:
		return Interface{}, errUnusable("it takes no APDUs (features %08x)", f.features)
	case f.protocols&protocolT1 == 0:
		return Interface{}, errUnusable("it does not speak T=1")
	case f.maxMessage < minMessage:
		return Interface{}, errUnusable("messages of %d bytes are too short", f.maxMessage)
	}
	f.out.MaxMessage = int(min(f.maxMessage, maxMessage))
	f.out.Extended = f.features&levelMask == levelExtended
	return f.out, nil
}
