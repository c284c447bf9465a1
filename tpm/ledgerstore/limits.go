package ledgerstore

// Bounds of what is written and read.
const (
	// baseEvery is after how many bytes of log the derived files are made
	// durable: Open reads this much again, in a few milliseconds; making them
	// durable costs about as much as six appends, once in some 200 ceremonies.
	baseEvery = 1 << 20
	// chunkEntries and chunkItems bound what is read under one lock: entries,
	// and items of a derived file.
	chunkEntries, chunkItems = 64, 64
	// reportEvery is how many bytes are read between two words of progress.
	reportEvery = 1 << 20
)
