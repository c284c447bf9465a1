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

	// farewell bounds the wait for the line to take the closing frame, once for
	// the driver to take it and once for the driver to send it.
	farewell = 200 * time.Millisecond

	// DefaultBaud is the rate when the configuration names none.
	DefaultBaud = 115200

	// MaxBaud is the highest rate of the kernel's table (B4000000); UARTs and
	// adapters end there or below.
	MaxBaud = 4_000_000

	// everyUARTsRate is one that any UART and adapter runs at, and that no tty
	// has before it was set (9600, 38400).
	everyUARTsRate = 19200

	// rateTolerance: a rate off by more than 1/40 (2.5 %) is another rate. A
	// receiver samples the last bit of ten in its middle, so both ends
	// together may be off by 5 %.
	rateTolerance = 40
)
