package serialport

import "time"

// Bounds of this package.
const (
	// readSize is one read: a full frame of the longest kind fits.
	readSize = 8 << 10

	// writeSize is about one write. Small, so that what is urgent waits for
	// little; large enough for two of the longest frames per system call.
	writeSize = 8 << 10

	// eventQueue events wait for the consumer before the endpoint stops taking
	// them from the session, which then holds the peer.
	eventQueue = 16

	// retryFirst and retryMost space the attempts to open an absent or busy
	// device: found within a second of its return, at no cost worth measuring.
	retryFirst = 100 * time.Millisecond
	retryMost  = time.Second

	// farewell bounds the wait for the line to take the closing frame.
	farewell = 200 * time.Millisecond

	// DefaultBaud is the rate when the configuration names none.
	DefaultBaud = 115200

	// maxBaud is above anything a UART or its driver accepts.
	maxBaud = 4_000_000
)
