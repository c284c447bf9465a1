package update

const (
	// SectorSize is what a card writes at once: all or nothing of it.
	SectorSize = 512

	// MaxStep bounds how far an image's serial is above the one that runs and above
	// the TPM's counter, and how far one start raises that counter, which takes one
	// write of its memory for each step (tpm/device.MaxRaise).
	MaxStep = 64
)
