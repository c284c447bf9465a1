package pcsc

import "time"

const (
	// MaxAPDU bounds command and response. An extended APDU holds 64 KiB of
	// data at most, and the wire of the emulated reader counts in 16 bits;
	// piv-go never sends more than 260 bytes.
	MaxAPDU = 65535

	// ExchangeLimit ends a card call that neither answers nor breaks. The
	// longest honest ones are a touch (a YubiKey gives up after 15 s) and the
	// generation of a large RSA key (tens of seconds).
	ExchangeLimit = 2 * time.Minute

	// ConnectLimit bounds reaching a reader, power-on and ATR, and the
	// power-off at the end: a real card needs well under a second.
	ConnectLimit = 5 * time.Second

	// silenceLimit is how long a reader on USB may send nothing at all while a
	// command is under way. One that waits for a touch or makes a key asks for
	// more time several times a second (CCID 1.1 §6.2.6).
	silenceLimit = 20 * time.Second

	// closeLimit bounds the power-off of a card that is let go: whoever closes
	// waits for it, and the device may be the one that hangs.
	closeLimit = time.Second

	// maxUSBDevices bounds what is looked at to find readers: a bus has 127
	// devices, and a board two or three buses with a few.
	maxUSBDevices = 1024
	// maxAttribute bounds an attribute in sysfs, which is one short line.
	maxAttribute = 256
	// maxProduct bounds what a device calls itself in its reader's name.
	maxProduct = 64

	// maxObjects bounds open contexts, and open handles. piv-go uses one of
	// each per open token; more are leaks, and a leak must not grow.
	maxObjects = 64

	// minCommand is a command header: CLA INS P1 P2 (ISO/IEC 7816-4 §5.1).
	minCommand = 4
)
