package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/quote"
)

// What a board takes at a start without administrators is no finding, and the next second
// is: board and auditor bound a start's time alike, and are as silent where the TPM cannot
// know how much time passed.
func TestStartsAreBoundedAsTheBoardBoundsThem(t *testing.T) {
	base := newWorld(t, parts{genuine: true})
	base.boot()
	base.ceremony(1)
	const statement = 1000 // milliseconds by which this TPM's clock goes on with each
	then := base.tpm.Clock
	then.Millis -= statement // a quote followed the newest NV_Certify
	for name, c := range map[string]struct {
		ran   time.Duration
		tpm   func(*quote.Clock)
		blind bool // nothing can be compared
	}{
		"at once":         {},
		"a minute later":  {ran: 59*time.Second + 999*time.Millisecond},
		"the next day":    {ran: 24 * time.Hour},
		"after a month":   {ran: 30*24*time.Hour + 7*time.Second},
		"power was off":   {ran: time.Hour, tpm: func(c *quote.Clock) { c.ResetCount++ }, blind: true},
		"it was asleep":   {ran: time.Hour, tpm: func(c *quote.Clock) { c.RestartCount++ }, blind: true},
		"it is not sure":  {ran: time.Hour, tpm: func(c *quote.Clock) { c.Safe = false }, blind: true},
		"a minute or two": {ran: 100 * time.Second},
	} {
		for _, over := range []time.Duration{0, time.Second} {
			w := base.copy(t)
			w.tpm.Clock.Millis += uint64(c.ran / time.Millisecond)
			if c.tpm != nil {
				c.tpm(&w.tpm.Clock)
			}
			now := w.tpm.Clock
			now.Millis += statement // the boot entry's
			w.now = recovery.Latest(recovery.Stated{Time: w.now, Clock: &then}, w.now, now).Truncate(time.Second).Add(over)
			w.boot()
			w.ceremony(1)
			got := slices.Contains(codes(audited(t, w.input()), finding.Warning), finding.Stretched)
			if want := over > 0 && !c.blind; got != want {
				t.Errorf("%s, %s later than the board takes: found %t", name, over, got)
			}
		}
	}
}
