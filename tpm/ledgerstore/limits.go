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
	// baseEvery is after how many bytes of log the derived files are made
	// durable: Open reads this much again, in a few milliseconds; making them
	// durable costs about as much as six appends, once in some 200 ceremonies.
	baseEvery = 1 << 20
	// maxRecord is the longest record in bytes.
	maxRecord = headerSize + ledger.MaxEntry
	// readOne is how much is read at first for one entry, in bytes: most are
	// shorter. readAhead is for reading many; more than maxRecord.
	readOne, readAhead = 2 << 10, 256 << 10
	// chunkEntries and chunkItems bound what is read under one lock: entries,
	// and items of a derived file.
	chunkEntries, chunkItems = 64, 64
	// reportEvery is how many bytes are read between two words of progress.
	reportEvery = 1 << 20
)
