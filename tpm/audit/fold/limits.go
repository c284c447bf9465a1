package fold

import "time"

// Bounds of what is kept in memory, whatever the log holds, and of what goes.
const (
	// clockSlack and clockShare (a fifth) are how far the log's time and the
	// TPM's clock may run apart within a boot: a mirror may keep an intent
	// waiting before its commit, and a TPM's oscillator is no better than some
	// per cent.
	clockSlack = 10 * time.Minute
	clockShare = 5
	// jobSweep is after how many new jobs, at least, expired ones are
	// forgotten.
	jobSweep = 1024
	// maxJobs bounds the jobs remembered at a time, some 100 bytes each: 500 a
	// day for the longest validity that a policy may allow (366 days) fit.
	maxJobs = 183_000
	// wearLeast and wearMost are how many writes the flash behind an NV index
	// of common TPMs is made for; near the lower one there is a warning.
	wearLeast, wearMost = 100_000, 500_000
)
