package anchor

import "touchmark/tpm/ledger"

// ReplayAt is the replay of a log that was replayed before up to a boot entry:
// that entry comes next, and its own statements are believed.
func ReplayAt(b *ledger.Boot) Replay {
	return Replay{committed: b.Committed, head: b.Head, pcr: b.PCR, boots: b.Number - 1}
}
