package form

// Bounds of what is shown. The bytes of a document are bounded by
// message.MaxDocument.
const (
	// MaxColumns bounds a line: it fits a console of 80 columns with an indent
	// of its own, and a digest of 64 digits fits it.
	MaxColumns = 72

	// MaxLines bounds what a person is asked to read of one document. One that
	// means more is refused, not shortened: who authorises thirty steps does not
	// look at them on a console.
	MaxLines = 200

	// MaxFree bounds the shown bytes of free text, such as a readme. What is left
	// out is counted.
	MaxFree = 160
)
