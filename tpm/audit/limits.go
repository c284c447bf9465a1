package audit

import "time"

// Bounds of what an audit keeps in memory, whatever the log holds.
const (
	// batch is how many entries are read, verified in parallel and folded at a
	// time: enough to keep all processors busy, at most 512 x 60 KiB.
	batch = 512
	// window is for how many of the newest tree sizes roots are kept. An
	// attest entry names a commit a few entries back; a submission names a
	// committed size, and those are all kept (40 bytes each).
	window = 4096
	// clockSlack and clockShare (a fifth) are how far the log's time and the
	// TPM's clock may run apart within a boot: a mirror may keep an intent
	// waiting before its commit, and a TPM's oscillator is no better than some
	// per cent.
	clockSlack = 10 * time.Minute
	clockShare = 5
	// maxListed bounds the entries listed with one finding; its count goes on.
	maxListed = 100
	// jobSweep is after how many intents expired jobs are forgotten: the
	// policy replay refuses them anyway.
	jobSweep = 1024
)
