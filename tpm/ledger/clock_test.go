package ledger

import (
	"testing"
	"time"
)

func TestCorrection(t *testing.T) {
	for _, d := range []time.Duration{time.Second, -time.Second, 36 * 365 * 24 * time.Hour, -maxCorrection * time.Second} {
		if got, ok := Correction(ClockCorrected(d)); !ok || got != d {
			t.Errorf("%s: %s %t", d, got, ok)
		}
	}
	for _, s := range []string{"", "system", "corrected:", "corrected:0", "corrected:-0", "corrected:+1", "corrected:01", "corrected: 1", "corrected:1s", "corrected:9000000001", "corrected:99999999999999999999", "Corrected:1"} {
		if d, ok := Correction(s); ok {
			t.Errorf("%q: %s", s, d)
		}
	}
}
