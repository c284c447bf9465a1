package hostd

import (
	"time"

	"touchmark/hostlink/hostd/spool"
)

// Bounds of the daemon, each with its reason.
const (
	// maxClients bounds connections on the socket, and with them goroutines. It
	// leaves room to look and to fetch when as many as may wait do.
	maxClients = 2 * maxJobs
	// maxJobs bounds what waits: a human confirms each one. A repository tool
	// that signs its packages side by side brings some dozens at once.
	maxJobs = 64
	// maxParked bounds those of them that wait for approvals, perhaps for days:
	// what needs none must find room.
	maxParked = maxJobs / 4
	// maxPast bounds the ended jobs whose answer nobody has taken, keepFor how
	// long one is kept after its deadline: over a weekend and some.
	maxPast = spool.MaxRecords - 2*maxJobs
	keepFor = 7 * 24 * time.Hour
	// maxOrders bounds the orders that are with the board: it shows one at a time.
	maxOrders = 16
	// maxErrands bounds the writes that wait for the disk: two for each job, and
	// a start that finds all of them outdated.
	maxErrands = 2 * spool.MaxRecords
	// maxTimeout is how long a request may wait for its signature: people who
	// must approve it may be away over a weekend.
	maxTimeout = 7 * 24 * time.Hour

	// maxBehind bounds what the board may claim to hold beyond the mirror;
	// more than an NV index can have taken is nonsense.
	maxBehind = 1 << 24
	// maxUnexplained is how often in a row the board may attest a HEAD that
	// its own log does not explain (a commit can be under way once), give an
	// outcome that does not verify, or drop a job that nobody withdrew.
	maxUnexplained = 3
)
