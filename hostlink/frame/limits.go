package frame

// The bounds of a frame. Each is part of the format: changing one needs a new
// link version.
const (
	// MaxPayload takes 44 ms of line at 921600 baud; on slower lines the session
	// cuts shorter fragments, so that no frame keeps others waiting for long.
	MaxPayload = 4096

	// HelloPayload is the payload of SYN and ACCEPT: version u8 and a nonce of
	// 8 bytes, enough that no two sessions of a board's life share one.
	HelloPayload = 9

	// MaxAckPayload is one flags byte and a bitmap of the 31 frames that can
	// follow a gap in the 32-frame window.
	MaxAckPayload = 5

	headerSize = 9 // type, sid, seq, ack
	crcSize    = 4

	// MaxRaw is the longest frame before stuffing.
	MaxRaw = headerSize + MaxPayload + crcSize

	// MaxEncoded is the longest stuffed frame without its delimiter: COBS adds
	// one byte per started run of 254 bytes.
	MaxEncoded = MaxRaw + (MaxRaw+maxRun-1)/maxRun

	// MaxWire is MaxEncoded and the delimiter.
	MaxWire = MaxEncoded + 1

	// Overhead is what a frame with a short payload costs on the wire beyond
	// the payload: header, checksum, one stuffing byte, delimiter.
	Overhead = headerSize + crcSize + 2

	// Delimiter ends every frame and occurs nowhere inside one.
	Delimiter = 0x00
)
