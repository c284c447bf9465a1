package ek

// Bounds of what is read.
const (
	// MaxCertificate bounds an EK certificate, as the genesis entry does
	// (docs/spec/ledger.md §1).
	MaxCertificate = 8192
	// MaxRootsFile bounds a file of roots: the TPM makers' own collections have
	// some hundred certificates of 1-2 KiB.
	MaxRootsFile = 1 << 20
	// maxRoots bounds all of them together.
	maxRoots = 2048
	// maxName bounds what is shown of a name.
	maxName = 128
)
