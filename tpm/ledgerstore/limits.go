package ledgerstore

import "touchmark/tpm/ledger"

// Bounds of what is written and read.
const (
	// maxAppend bounds one Append in bytes on disk: 16 outcomes and an intent
	// are far below; a mirror appends at most one link message (128 KiB). A
	// torn tail can therefore be no longer than this.
	maxAppend = 4 << 20
	// segmentSize is where a new segment file begins: small enough to copy
	// and check one at a time, large enough that 10^6 entries are few files.
	segmentSize = 64 << 20
	// maxPending bounds the published pending leaves in bytes: a commit's
	// leaves are a few entries.
	maxPending = 16 << 20
	// maxCheckpoint bounds a checkpoint file in bytes.
	maxCheckpoint = ledger.MaxCheckpoint
	// tileHeight and tileWidth are fixed by C2SP tlog-tiles.
	tileHeight, tileWidth = 8, 1 << 8
	// tileTries is how often a reader looks for a tile that is being replaced;
	// twice is enough unless the log grows by a tile meanwhile.
	tileTries = 3
	// maxBundle bounds an entry bundle in bytes: 256 entries of at most 60
	// KiB with their lengths.
	maxBundle = tileWidth * (2 + ledger.MaxEntry)
)
