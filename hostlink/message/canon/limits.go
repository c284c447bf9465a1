package canon

// Bounds of every canonical text. They protect a reader from a hostile peer
// and a writer from producing what no reader would take.
const (
	// MaxText bounds one text in bytes: the largest session message, so that
	// no text can exist that the link could not carry.
	MaxText = 128 << 10
	// MaxLine bounds one line in bytes without its newline: a log entry is
	// at most 60 KiB, and its longest line holds a base64 certificate.
	MaxLine = 60 << 10
	// MaxFields bounds the fields of one line: the widest line of any text
	// (an entry's token key) has six; the rest is room to grow.
	MaxFields = 16
	// MaxDomain bounds the first line, which decides what a text is.
	MaxDomain = 64
	// MinYear and MaxYear bound a time: before the project, nothing was
	// signed; the upper bound keeps every year at four digits and catches a
	// clock somebody mistyped.
	MinYear, MaxYear = 2020, 2199
)
