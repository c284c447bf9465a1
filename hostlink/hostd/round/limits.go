package round

import "time"

// Bounds, each with its reason.
const (
	// MaxRules bounds the rules of a host: each is looked at every few seconds.
	MaxRules = 64
	// MaxItems bounds the files of one rule that are signed: a pool of packages
	// is a few thousand.
	MaxItems = 4096
	// MaxState bounds the file that all this is kept in: three snapshots a rule
	// of a few large ones.
	MaxState = 64 << 20
	// MaxBatch is what one request to the appliance holds (docs/spec/message.md §3).
	MaxBatch = 16
	// MaxWindow is how long a request may wait at the daemon.
	MaxWindow = 7 * 24 * time.Hour
)

// How long to wait after a job that ended without a signature.
const (
	afterFault  = time.Minute      // nobody touched, no link, token or appliance failure: tried again soon, people see to it
	afterRefuse = 10 * time.Minute // the policy's word: a rate, mostly, which time mends
)
