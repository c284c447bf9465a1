package intake

import (
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// Ended remembers how requests ended that came to nothing: denied, cancelled,
// not armed in time. Whoever sits on the cable can send a host's submission
// again, and a cancellation too. By host time, which both carry signed, they
// are put in order: a submission no later than the end of the job that it asks
// for gets the same answer once more, and a cancellation withdraws only what
// was submitted no later than it was made. What is older than the policy's
// max_skew need not be remembered: it is refused for its age.
//
// Its zero value is empty.
type Ended struct {
	ends map[endKey]end
}

// endKey has the host in it, so that none can speak for another's job.
type endKey struct {
	host string
	job  message.JobID
}

type end struct {
	at      time.Time // host time
	refusal policy.Refusal
}

// Note remembers that the host's job ended with r, as far as it was asked for
// at a host time up to at.
func (e *Ended) Note(host string, job message.JobID, at time.Time, r policy.Refusal) {
	k := endKey{host, job}
	if e.ends == nil {
		e.ends = map[endKey]end{}
	}
	if old, known := e.ends[k]; known && old.at.After(at) {
		return
	}
	e.ends[k] = end{at, r}
	if len(e.ends) > MaxEnded {
		e.dropOldest()
	}
}

// dropOldest forgets the oldest end of the host that has most, so that one that
// cancels without end has none forgotten but its own.
func (e *Ended) dropOldest() {
	counts := map[string]int{}
	most := ""
	for k := range e.ends {
		counts[k.host]++
		if n := counts[k.host] - counts[most]; n > 0 || n == 0 && k.host < most {
			most = k.host
		}
	}
	var oldest endKey
	var at time.Time
	for k, v := range e.ends {
		if k.host == most && (at.IsZero() || v.at.Before(at)) {
			oldest, at = k, v.at
		}
	}
	delete(e.ends, oldest)
}

// Answer gives the answer that a request has had already, as a *policy.Refusal;
// nil if it is a new one.
func (e *Ended) Answer(r *policy.Request) error {
	if v, known := e.ends[endKey{r.Host, r.Job}]; known && !r.Submission.HostTime.After(v.at) {
		return &v.refusal
	}
	return nil
}

// Forget drops what ended before a host time.
func (e *Ended) Forget(before time.Time) {
	for k, v := range e.ends {
		if v.at.Before(before) {
			delete(e.ends, k)
		}
	}
}
