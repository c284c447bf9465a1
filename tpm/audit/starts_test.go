package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
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

// A board that halted over its clock, and went on without the order that came for it, has a
// boot entry with a time that nobody set: the next start is not held against that.
func TestATimeThatNobodySetBoundsNoStart(t *testing.T) {
	for clock, want := range map[string]bool{ledger.ClockHostUnset: false, ledger.ClockOperator: true} {
		w := newWorld(t, parts{genuine: true})
		w.boot()
		w.ceremony(1)
		w.tpm.Clock.Millis += uint64((72 * time.Hour).Milliseconds())
		w.boot(func(b *ledger.Boot) { b.Clock = clock })
		w.now = w.now.Add(72 * time.Hour)
		w.boot()
		w.ceremony(1)
		if got := slices.Contains(codes(audited(t, w.input()), finding.Warning), finding.Stretched); got != want {
			t.Errorf("clock %s: found %t", clock, got)
		}
	}
}
