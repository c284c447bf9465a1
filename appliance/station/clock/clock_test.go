package clock

import (
	"strings"
	"testing"
	"time"

	"touchmark/tpm/ledger"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// at is the clock of a machine that says t for ever.
func at(t time.Time) *Clock { return New(func() time.Time { return t }) }

// A clock says nothing that no text can have, and nothing below a second.
func TestNow(t *testing.T) {
	for _, c := range []struct{ machine, want time.Time }{
		{noon.Add(time.Second - 1), noon},
		{time.Time{}, earliest},
		{noon.AddDate(500, 0, 0), latest},
	} {
		if got := at(c.machine).Now(); !got.Equal(c.want) {
			t.Errorf("%v: %v, want %v", c.machine, got, c.want)
		}
	}
}

// An order sets the clock, ends a hold, and is vouched for by what it corrected.
func TestSet(t *testing.T) {
	c := at(noon)
	c.Confirm(ledger.ClockOperator)
	if !c.Confirmed() || c.Vouched() != ledger.ClockOperator || c.Warning() != "" {
		t.Errorf("%s, %q", c.Vouched(), c.Warning())
	}
	c.Hold(noon.Add(time.Hour))
	if !c.Now().Equal(noon.Add(time.Hour)) || c.Vouched() != ledger.ClockHostUnset {
		t.Errorf("held: %v, %s", c.Now(), c.Vouched())
	}
	c.LetGo()
	if !c.Now().Equal(noon) {
		t.Errorf("let go: %v", c.Now())
	}
	c.Hold(noon)
	c.Set(noon.Add(-time.Hour))
	if !c.Now().Equal(noon.Add(-time.Hour)) || c.Vouched() != "corrected:-3600" || !strings.Contains(c.Warning(), "2026-11-23T12:00:00Z") {
		t.Errorf("set: %v, %s, %q", c.Now(), c.Vouched(), c.Warning())
	}
}

// A start goes on with the correction of a machine that still runs as it did, and with no other.
func TestKeep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		machine time.Time
		by      time.Duration
		order   *Correction
		taken   bool
		want    time.Time // zero: nothing is kept
	}{
		"ahead as before":          {noon.Add(year + time.Hour), -year, nil, false, noon.Add(time.Hour)},
		"set right meanwhile":      {noon.Add(time.Hour), -year, nil, false, time.Time{}},
		"behind as before":         {noon.Add(time.Hour - year), year, nil, false, noon.Add(time.Hour)},
		"too little to tell":       {noon.Add(25 * 24 * time.Hour), -24 * 24 * time.Hour, nil, false, time.Time{}},
		"an order that HEAD took":  {noon.Add(2*year + time.Hour), -year, &Correction{At: noon, To: noon.Add(-year), Taken: true}, false, noon.Add(time.Hour)},
		"one of which nobody says": {noon.Add(2*year + time.Hour), -year, &Correction{At: noon, To: noon.Add(-year)}, true, noon.Add(time.Hour)},
		"one that HEAD did not":    {noon.Add(year + time.Hour), -year, &Correction{At: noon, To: noon.Add(-year)}, false, noon.Add(time.Hour)},
	} {
		k := at(c.machine)
		kept := k.Keep(&ledger.Boot{Clock: ledger.ClockCorrected(c.by)}, noon, c.order, c.taken)
		if kept == c.want.IsZero() || kept && !k.Now().Equal(c.want) {
			t.Errorf("%s: %v, %v; want %v", name, kept, k.Now(), c.want)
		}
	}
	if at(noon).Keep(nil, noon, nil, false) {
		t.Error("a correction without a boot entry")
	}
}
