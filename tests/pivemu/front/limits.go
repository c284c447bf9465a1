package front

import "time"

const (
	// maxMessage is the longest message of the wire: its length has 16 bits.
	maxMessage = 0xffff
	// busyGrace is how long a second reader waits for the first one to let go:
	// enough for the end of a killed process to be noticed.
	busyGrace = 2 * time.Second
	// redialFirst and redialLast pace the attempts to reach vpcd.
	redialFirst = 10 * time.Millisecond
	redialLast  = time.Second
	// maxControlLine bounds a control command; the longest is "fail-after …".
	maxControlLine = 256
	// maxControls bounds the control connections open at a time.
	maxControls = 64
)
