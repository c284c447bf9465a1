package deb

const (
	// MaxFile bounds a file's content: everything is held in memory several times.
	MaxFile = 4 << 20

	// maxTime bounds times: ar's header has twelve digits, and no tool here was made
	// for more than 32 bits.
	maxTime = 1<<32 - 1
)
