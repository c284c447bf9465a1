package fold

import (
	"fmt"
	"time"

	"touchmark/tpm/audit/task"
	"touchmark/tpm/quote"
)

// segment is one boot entry's life: from it on, the log's time and the TPM's
// clock must run alike until the next one. Between boots the time may also stand
// still, and the TPM's clock does while it has no power; where it had, the time
// must not have gone on without it.
type segment struct {
	stated
	newest stated // in the segment
}

// stated is what an entry says of the time: its own, and the TPM's clock in it.
type stated struct {
	known bool
	time  time.Time
	clock quote.Clock
}

func statedBy(t *task.Task) stated {
	if t.NV == nil {
		return stated{}
	}
	return stated{true, t.Header.Time, t.NV.Clock}
}

// begin starts the segment of a boot entry. It says by how much the time ran
// ahead between the newest statement and this one, "" if the TPM's clock explains it. The next
// start is not held against one whose time nobody set.
func (s *segment) begin(t *task.Task, set bool) (jumped string) {
	now := statedBy(t)
	if s.newest.known && now.known {
		log, tpm, ok := s.newest.until(now.time, now.clock)
		if ok && log > tpm+tpm/clockShare+clockSlack {
			jumped = fmt.Sprintf("%s passed in the log since the statement before this start, and %s on the TPM's clock", log, tpm.Round(time.Second))
		}
	}
	*s = segment{stated: now}
	if set {
		s.newest = now
	}
	return jumped
}

// attested notes an attest entry, which the next start is held against; not one of
// a recovery, which has no quote and comes at any later time.
func (s *segment) attested(t *task.Task) {
	if now := statedBy(t); s.known && now.known && t.Quote != nil {
		s.newest = now
	}
}

// until is how much time passed to another statement in the log and on the TPM's
// clock, if that can be compared.
func (s stated) until(at time.Time, to quote.Clock) (log, tpm time.Duration, ok bool) {
	from := s.clock
	if from.ResetCount != to.ResetCount || from.RestartCount != to.RestartCount || !from.Safe || !to.Safe || to.Millis < from.Millis {
		return 0, 0, false // a finding of its own, or no comparison
	}
	return at.Sub(s.time), elapsed(to.Millis - from.Millis), true
}

// stretched compares an intent's time with the NV_Certify of its commit, "" if
// they agree. Statements made by recovery, without a quote, come at any later
// time.
func (s *segment) stretched(at time.Time, t *task.Task) string {
	if !s.known || t.NV == nil || t.Quote == nil {
		return ""
	}
	log, tpm, ok := s.until(at, t.NV.Clock)
	if !ok || (log-tpm).Abs() <= clockSlack+tpm/clockShare {
		return ""
	}
	return fmt.Sprintf("%s passed in the log since the boot entry, and %s on the TPM's clock", log, tpm.Round(time.Second))
}

// elapsed is a difference of a TPM's clock, bounded to what Go can say.
func elapsed(millis uint64) time.Duration {
	const most = 200 * 366 * 24 * time.Hour
	return time.Duration(min(millis, uint64(most/time.Millisecond))) * time.Millisecond
}
