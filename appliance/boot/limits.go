package boot

import "time"

const (
	// maxCommandLine is more than COMMAND_LINE_SIZE of arm64 (2048).
	maxCommandLine = 4096

	// maxCeremony and maxLines bound a ceremony file; the longest that makes sense
	// names some twenty administrators.
	maxCeremony = 16 << 10
	maxLines    = 128
	maxValue    = 200

	// restFirst is the pause before a core that ended is started again, doubled each
	// time up to restMost. One that ran for steady starts that count anew.
	restFirst = time.Second
	restMost  = 30 * time.Second
	steady    = 2 * time.Minute

	// patience is how often a core may end soon after its start until the board
	// starts anew: hardware that hangs is helped by a reset, and two slots by another
	// choice of the boot loader.
	patience = 6
)
