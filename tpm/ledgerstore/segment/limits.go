package segment

import "touchmark/tpm/ledger"

// Bounds of what is written and read.
const (
	// MaxAppend bounds one append in bytes on disk: 16 outcomes and an intent
	// are far below; a mirror appends at most one link message (128 KiB). A
	// torn tail can therefore be no longer than this.
	MaxAppend = 4 << 20
	// Size is where a new segment file begins: small enough to copy and check
	// one at a time, large enough that 10^6 entries are few files.
	Size = 64 << 20
	// maxRecord is the longest record in bytes.
	maxRecord = HeaderSize + ledger.MaxEntry
	// readOne is how much is read at first for one entry, in bytes: most are
	// shorter. readAhead is for reading many; more than maxRecord.
	readOne, readAhead = 2 << 10, 256 << 10
)
