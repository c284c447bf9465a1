package intake

import "time"

// Ration is a token bucket: one per interval in the long run, a few at once.
type Ration struct {
	tokens, burst float64
	every         time.Duration
	at            time.Time
}

// NewRation makes a full bucket of burst tokens that refills at one per every.
func NewRation(burst int, every time.Duration, now time.Time) Ration {
	return Ration{float64(burst), float64(burst), every, now}
}

// Take spends one token and gives 0, or gives how long to wait for one. A now
// before the last one counts as no time passed.
func (r *Ration) Take(now time.Time) time.Duration {
	if passed := now.Sub(r.at); passed > 0 {
		r.tokens = min(r.burst, r.tokens+float64(passed)/float64(r.every))
		r.at = now
	}
	if r.tokens >= 1 {
		r.tokens--
		return 0
	}
	return time.Duration((1-r.tokens)*float64(r.every)) + time.Millisecond
}
