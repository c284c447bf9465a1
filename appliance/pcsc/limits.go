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

	// maxObjects bounds open contexts, and open handles. piv-go uses one of
	// each per open token; more are leaks, and a leak must not grow.
	maxObjects = 64

	// minCommand is a command header: CLA INS P1 P2 (ISO/IEC 7816-4 §5.1).
	minCommand = 4
)
