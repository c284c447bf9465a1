package openpgp

// Every bound of the package, with its reason.
const (
	// MaxSignature bounds a signature packet: a 512-byte RSA value and a
	// notation carrying the longest origin (message.MaxOrigin) twice stay
	// under it.
	MaxSignature = 1024

	// MaxClear bounds a text that a signature stands below: the Release file of
	// the largest distribution has a quarter of that.
	MaxClear = 1 << 20

	// MaxSignatureFile bounds a file with a signature: every line of such a text
	// may have grown by the two bytes of an escaped dash.
	MaxSignatureFile = 3*MaxClear + 2*MaxSignature
)
