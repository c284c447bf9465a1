package intake

// Bounds, each with its reason.
const (
	// MaxHeadAge is how many entries a host may be behind when it asks. An
	// auditor keeps the roots of that many sizes, and a host that never looks at
	// the log commits to nothing.
	MaxHeadAge = 1024
	// MaxEnded bounds the ended requests that are remembered. Each took a host's
	// signature; people end a few an hour, and none is kept longer than the
	// policy's max_skew. The host that has most loses its own first.
	MaxEnded = 1024
)
