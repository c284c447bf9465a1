package ledgerstore

// Bounds of what is written and read.
const (
	// baseEvery is after how many bytes of log the derived files are made
	// durable: Open reads this much again, in a few milliseconds; making them
	// durable costs about as much as six appends, once in some 200 ceremonies.
	baseEvery = 1 << 20
	// chunkEntries, chunkItems and chunkJobs bound what is read under one lock:
	// entries, items of a derived file, and of that with the jobs, of which a
	// start reads many.
	chunkEntries, chunkItems, chunkJobs = 64, 64, 1024
	// reportEvery is how many bytes are read between two words of progress.
	reportEvery = 1 << 20
	// maxFrozen is what a store that is opened to be read only holds in memory,
	// in bytes: what is derived from a log of 200 000 entries, where none of it
	// can be read from the disk.
	maxFrozen = 32 << 20
)
