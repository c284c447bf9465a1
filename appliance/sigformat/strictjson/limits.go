package strictjson

const (
	// MaxBytes bounds what is read: documents have 32 KiB, and what stands
	// around them with other people's signatures is not much more.
	MaxBytes = 256 << 10

	// MaxDepth bounds nesting: in-toto's metadata has seven levels, predicates a
	// few more.
	MaxDepth = 32

	// MaxInt is what a reader that has doubles only holds exactly (RFC 7493 §2.2).
	MaxInt = 1<<53 - 1

	// maxNumber bounds the characters of a number: what a double needs.
	maxNumber = 24
)
