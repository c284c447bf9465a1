package past

import "time"

// Life is how many writes the memory behind an NV index lasts at least: makers
// promise 100,000 to 500,000.
const Life = 100_000

// wearWindow is what the present rate of writes is taken from.
const wearWindow = 30 * 24 * time.Hour

// maxDays bounds a number of days that is told: what is further away is never.
const maxDays = 999_999

// Wear is how worn the TPM's memory of HEAD is: each commit writes it once.
type Wear struct {
	Writes uint64 // by this log, at most: commits planned
	Days   int    // until Life at the rate of the last 30 days, -1 when there was no write in them
}

// Wear counts the log's commits, at a time.
func (p *Past) Wear(now time.Time) (Wear, error) {
	writes, err := p.cfg.Store.PlansBehind(0)
	if err != nil {
		return Wear{}, err
	}
	since, err := p.firstSince(now.Add(-wearWindow))
	if err != nil {
		return Wear{}, err
	}
	recent, err := p.cfg.Store.PlansBehind(since)
	return Wear{writes, daysLeft(writes, recent, min(now.Sub(p.Born), wearWindow))}, err
}

// daysLeft is how long what is left lasts at recent writes in a period.
func daysLeft(writes, recent uint64, period time.Duration) int {
	switch {
	case writes >= Life:
		return 0
	case recent == 0:
		return -1
	}
	days := max(period.Hours(), 1) / 24 * float64(Life-writes) / float64(recent)
	return int(min(days, maxDays))
}
