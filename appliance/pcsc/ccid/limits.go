package ccid

const (
	// MaxAPDU bounds a command and a response after their parts are put together:
	// what package pcsc takes.
	MaxAPDU = 65535

	// minMessage is what dwMaxCCIDMessageLength must allow: a header and the
	// longest short command APDU (§5.1: 261 bytes for readers that take APDUs).
	minMessage = headerSize + 261
	// maxMessage is the longest message used, whatever a reader offers: a whole
	// extended APDU and its header.
	maxMessage = headerSize + MaxAPDU

	// maxExtensions bounds the time extensions of one message. A token sends a
	// few a second, and no exchange is waited for longer than two minutes; a
	// device that sends more keeps the host busy.
	maxExtensions = 4096
	// maxStale bounds the messages skipped because they answer an earlier
	// command: what a process that was killed has left in the device is one.
	maxStale = 8
	// maxEmpty bounds the transfers without a byte before one message: one may
	// end the message before.
	maxEmpty = 2
	// maxParts bounds the parts of a response. Parts are as long as a message
	// allows, 261 bytes at least; a device that sends single bytes is refused.
	maxParts = MaxAPDU/(minMessage-headerSize) + 1

	// maxATR is the longest answer to reset (ISO/IEC 7816-3 §8.2.1).
	maxATR = 33

	// MaxDescriptors bounds what a device says about itself: one configuration
	// is at most 65535 bytes (USB 2.0 §9.6.3), and real ones are some hundred.
	MaxDescriptors = 65535
	// maxPacket is the longest packet of a bulk endpoint (USB 3.2 §8.6.2).
	maxPacket = 1024
)
