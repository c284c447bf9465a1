package recovery

import (
	"testing"
	"time"

	"touchmark/tpm/quote"
)

// TestLatest: within one run of the TPM its clock bounds the time; after a loss of power, or
// without a clock to trust, the operator's word does, for as long as a board lies in a drawer.
func TestLatest(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	last := at.Add(time.Hour)
	clock := func(change func(*quote.Clock)) quote.Clock {
		c := quote.Clock{Millis: 5_000_000, ResetCount: 3, RestartCount: 2, Safe: true}
		change(&c)
		return c
	}
	then := clock(func(*quote.Clock) {})
	unsafe := clock(func(c *quote.Clock) { c.Safe = false })
	drawer := last.Add(400 * 24 * time.Hour)
	for name, c := range map[string]struct {
		then *quote.Clock
		now  quote.Clock
		want time.Time
	}{
		"at once":           {&then, then, at.Add(10 * time.Minute)},
		"ten hours later":   {&then, clock(func(c *quote.Clock) { c.Millis += 36_000_000 }), at.Add(12*time.Hour + 10*time.Minute)},
		"TPM reset":         {&then, clock(func(c *quote.Clock) { c.ResetCount++ }), drawer},
		"TPM restart":       {&then, clock(func(c *quote.Clock) { c.RestartCount++ }), drawer},
		"clock went back":   {&then, clock(func(c *quote.Clock) { c.Millis-- }), drawer},
		"not safe now":      {&then, unsafe, drawer},
		"not safe then":     {&unsafe, then, drawer},
		"no statement":      {nil, then, drawer},
		"a clock of 2^64-1": {&then, clock(func(c *quote.Clock) { c.Millis = 1<<64 - 1 }), at.Add(480*24*time.Hour + 10*time.Minute)},
	} {
		if got := Latest(Stated{at, c.then}, last, c.now); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
