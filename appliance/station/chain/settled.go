package chain

import (
	"errors"

	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/ledger"
)

// ErrUnsettled is a HEAD that took a commit which the log does not attest yet: the
// board died, or halted, between NV_Extend and the attest entry. The PCR may be
// behind then, and no checkpoint tells of the commit. A start settles it.
var ErrUnsettled = errors.New("the TPM took a commit that the log does not attest yet: start the board, which settles that, and ask again")

// Settled reports with ErrUnsettled whether HEAD stands at a commit that was begun
// on this disk and whose end is not written. A HEAD that the disk does not
// explain is none of that: it is what an auditor wants to know.
func Settled(log past.Log, attest *ledger.Attest, head [32]byte) error {
	attested := uint64(0)
	if attest != nil {
		attested = attest.Size
	}
	for p, err := range log.PlansBackward() {
		switch {
		case err != nil:
			return fault.Unreadable(err)
		case p.Size <= attested:
			return nil
		case p.Head() == head:
			return ErrUnsettled
		}
	}
	return nil
}
