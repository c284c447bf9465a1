package fold

import (
	"fmt"
	"time"

	"touchmark/tpm/audit/task"
	"touchmark/tpm/quote"
)

// segment is one boot entry's life: from it on, the log's time and the TPM's
// clock must run alike until the next one. Between boots an operator may set
// the time, and the TPM's clock stands still while it has no power.
type segment struct {
	known bool
	time  time.Time
	clock quote.Clock
}

func (s *segment) begin(t *task.Task) {
	*s = segment{known: t.NV != nil, time: t.Header.Time}
	if s.known {
		s.clock = t.NV.Clock
	}
}

// stretched compares an intent's time with the NV_Certify of its commit, "" if
// they agree. Statements made by recovery, without a quote, come at any later
// time.
func (s *segment) stretched(at time.Time, t *task.Task) string {
	if !s.known || t.NV == nil || t.Quote == nil {
		return ""
	}
	from, to := s.clock, t.NV.Clock
	if from.ResetCount != to.ResetCount || from.RestartCount != to.RestartCount || !from.Safe || !to.Safe || to.Millis < from.Millis {
		return "" // a finding of its own, or no comparison
	}
	log, tpm := at.Sub(s.time), elapsed(to.Millis-from.Millis)
	if (log - tpm).Abs() <= clockSlack+tpm/clockShare {
		return ""
	}
	return fmt.Sprintf("%s passed in the log since the boot entry, and %s on the TPM's clock", log, tpm.Round(time.Second))
}

// elapsed is a difference of a TPM's clock, bounded to what Go can say.
func elapsed(millis uint64) time.Duration {
	const most = 200 * 366 * 24 * time.Hour
	return time.Duration(min(millis, uint64(most/time.Millisecond))) * time.Millisecond
}
