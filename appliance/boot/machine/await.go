package machine

import "time"

// poll is between two looks at what nobody tells of: sysfs says to nobody what appears in it, a node may be there before it
// can be opened, and other processes' children are not ours to wait for.
const poll = 10 * time.Millisecond

// clock is what is waited by.
type clock struct {
	now   func() time.Time
	sleep func(time.Duration)
}

// wall is the machine's.
var wall = clock{time.Now, time.Sleep}

// await tries until it succeeds, for limit at most, and at least once; the error is the last try's.
func await[T any](c clock, limit time.Duration, try func() (T, error)) (T, error) {
	for end := c.now().Add(limit); ; c.sleep(poll) {
		got, err := try()
		if err == nil || !c.now().Before(end) {
			return got, err
		}
	}
}
