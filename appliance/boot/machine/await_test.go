package machine

import (
	"errors"
	"testing"
	"time"
)

// TestAwait: what appears late is found, what never does is given up after the limit and not before, by a clock that only
// waiting moves.
func TestAwait(t *testing.T) {
	absent := errors.New("absent")
	for _, c := range []struct {
		appears, tries int // at which try, 0 for never; how many there are
		limit          time.Duration
	}{{1, 1, 0}, {0, 1, 0}, {5, 5, time.Second}, {0, 101, time.Second}, {101, 101, time.Second}} {
		now, tries := time.Unix(0, 0), 0
		fake := clock{func() time.Time { return now }, func(d time.Duration) { now = now.Add(d) }}
		got, err := await(fake, c.limit, func() (int, error) {
			if tries++; tries == c.appears {
				return 7, nil
			}
			return 0, absent
		})
		if there := c.appears > 0; tries != c.tries || there != (err == nil && got == 7) || !there && err != absent {
			t.Errorf("%+v: %d after %d tries: %v", c, got, tries, err)
		}
	}
}
