package ledgerstore

// Bounds of what is written and read.
const (
	// maxAppend bounds one Append in bytes on disk: 16 outcomes and an intent
	// are far below; a mirror appends at most one link message (128 KiB). A
	// torn tail can therefore be no longer than this.
	maxAppend = 4 << 20
	// segmentSize is where a new segment file begins: small enough to copy
	// and check one at a time, large enough that 10^6 entries are few files.
	segmentSize = 64 << 20
)
