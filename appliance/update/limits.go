package update

const (
	// SectorSize is what a card writes at once: all or nothing of it.
	SectorSize = 512

	// MaxStep bounds how far one update raises the TPM's counter, which takes
	// one write of its memory for each step.
	MaxStep = 64
)
