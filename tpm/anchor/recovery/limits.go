package recovery

import "time"

// maxOpen bounds the commits that may have come next while entries from a
// mirror are followed: all but one were armed by the operator and failed.
const maxOpen = 4096

const (
	// clockSlack and clockShare (a fifth) are what the machine's clock may have
	// gone ahead beyond the TPM's while that had power: an entry is a little older
	// than its statement, and a TPM's clock keeps time badly (TPM 2.0 part 1, 36.3). The
	// auditor allows the same.
	clockSlack = 10 * time.Minute
	clockShare = 5
	// longestAbsence is how long a board may have been without power by the word of
	// the operator alone: a year in a drawer, and not the decades that one wrong
	// digit makes.
	longestAbsence = 400 * 24 * time.Hour
)
