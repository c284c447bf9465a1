package frame

// Error is a class of malformed frame. It never leaves the link: a bad frame is
// counted in [Stats] under its class and dropped, nothing is sent because of it,
// and the peer's session sends again what was lost.
type Error uint8

// The classes, in the order in which a piece between two delimiters is judged.
const (
	ErrLong     Error = iota // more than MaxEncoded bytes: cannot be a frame
	ErrStuffing              // not COBS, or not the one spelling of it
	ErrShort                 // unstuffed, shorter than header and checksum
	ErrChecksum              // CRC-32C differs
	ErrType                  // not one of the ten types
	ErrLength                // payload length not allowed for the type
	ErrField                 // a field that must be zero is not or the reverse, version 0, ACK not in its one spelling

	Errors = iota // how many classes there are
)

var errorText = [Errors]string{
	ErrLong:     "frame: longer than any frame",
	ErrStuffing: "frame: bad byte stuffing",
	ErrShort:    "frame: shorter than header and checksum",
	ErrChecksum: "frame: checksum mismatch",
	ErrType:     "frame: unknown type",
	ErrLength:   "frame: payload length not allowed for this type",
	ErrField:    "frame: field not allowed for this type",
}

// Error implements error.
func (e Error) Error() string { return errorText[e] }

// Stats counts what a [Decoder] has seen.
type Stats struct {
	Frames uint64         // accepted
	Bad    [Errors]uint64 // refused, by class
}

// Refused is the count of bad frames of all classes. One that rises fast says
// that the line is noisy or that the baud rates differ.
func (s Stats) Refused() (n uint64) {
	for _, b := range s.Bad {
		n += b
	}
	return n
}
