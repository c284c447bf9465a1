package tiles

import "touchmark/tpm/ledger"

// Bounds of what is written and read.
const (
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
