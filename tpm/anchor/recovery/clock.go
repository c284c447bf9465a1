package recovery

import (
	"time"

	"touchmark/tpm/quote"
)

// Stated is what the newest boot entry, or attest entry with a quote behind it, says of the time:
// when it was made, and the TPM's clock in it.
type Stated struct {
	Time  time.Time
	Clock *quote.Clock // nil if there is none
}

// Latest is the latest time that a start takes from the operator alone; for a later one
// the administrators vouch, with a time order. A TPM that had power since the log's newest
// statement knows how much time passed. One that had none does not, and a clock that is not
// safe may have gone back: then the board may have been away for longestAbsence since the log's
// last entry.
func Latest(stated Stated, last time.Time, now quote.Clock) time.Time {
	then := stated.Clock
	if then == nil || then.ResetCount != now.ResetCount || then.RestartCount != now.RestartCount || !then.Safe || !now.Safe || now.Millis < then.Millis {
		return last.Add(longestAbsence)
	}
	const most = uint64(longestAbsence / time.Millisecond) // more than that no TPM runs on end, and Go's durations are bounded
	ran := time.Duration(min(now.Millis-then.Millis, most)) * time.Millisecond
	return stated.Time.Add(ran + ran/clockShare + clockSlack)
}
