package past

import (
	"testing"
	"time"
)

func TestDaysLeft(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		writes, recent uint64
		period         time.Duration
		want           int
	}{
		{0, 0, wearWindow, -1},
		{1000, 0, wearWindow, -1},
		{1000, 30, wearWindow, 99_000},
		{40_000, 1200, wearWindow, 1500},
		{Life - 1, 3000, wearWindow, 0},
		{Life, 0, wearWindow, 0},
		{2 * Life, 5, day, 0},
		{10, 10, 10 * day, 99_990},
		{1, 1, wearWindow, maxDays},
		{1, 1, -day, 4166}, // a log that is younger than now says: of an hour
	} {
		if got := daysLeft(c.writes, c.recent, c.period); got != c.want {
			t.Errorf("%d writes, %d in %s: %d days, want %d", c.writes, c.recent, c.period, got, c.want)
		}
	}
}
