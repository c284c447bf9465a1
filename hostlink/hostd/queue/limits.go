package queue

import (
	"time"

	"touchmark/hostlink/hostd/spool"
)

// Bounds of the queue, each with its reason.
const (
	// MaxJobs bounds what waits: a human confirms each one. A repository tool
	// that signs its packages side by side brings some dozens at once.
	MaxJobs = 64
	// maxParked bounds those of them that wait for approvals, perhaps for days:
	// what needs none must find room.
	maxParked = MaxJobs / 4
	// maxPast bounds the ended jobs whose answer nobody has taken, keepFor how
	// long one is kept after its deadline: over a weekend and some.
	maxPast = spool.MaxRecords - 2*MaxJobs
	keepFor = 7 * 24 * time.Hour
	// maxErrands bounds the writes that wait for the disk: two for each job, and
	// a start that finds all of them outdated.
	maxErrands = 2 * spool.MaxRecords
	// maxDoubts is how often in a row the board may give an outcome that does not
	// verify, maxCancels how often drop a job that nobody withdrew.
	maxDoubts  = 3
	maxCancels = 3
)
