package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var durationUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day}

// parseDuration reads one whole number and one unit, s m h or d.
func parseDuration(s string, most time.Duration) (time.Duration, error) {
	n, unit := splitUnit(s)
	u, ok := durationUnits[unit]
	if n == 0 || !ok {
		return 0, fmt.Errorf("%q is not a duration: write a number and one of s, m, h, d, like 90s, 10m, 24h, 30d", s)
	}
	if n > uint64(most/u) {
		return 0, fmt.Errorf("%s is too long: at most %s", s, hoursOrDays(most))
	}
	return time.Duration(n) * u, nil
}

// hoursOrDays is a bound as a policy would write it: in days where it is some.
func hoursOrDays(d time.Duration) string {
	if d > day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return fmt.Sprintf("%dh", d/time.Hour)
}

var sizeUnits = map[string]uint64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// parseSize reads one whole number and one unit, B KiB MiB GiB or TiB.
func parseSize(s string, most uint64) (uint64, error) {
	n, unit := splitUnit(s)
	u, ok := sizeUnits[unit]
	if n == 0 || !ok {
		return 0, fmt.Errorf("%q is not a size: write a number and one of B, KiB, MiB, GiB, TiB, like 4GiB%s", s, binaryUnit(n, unit))
	}
	if n > most/u {
		return 0, fmt.Errorf("%s is too large: at most %d bytes", s, most)
	}
	return n * u, nil
}

// SizeText is a number of bytes as a policy would write it: in the largest unit that divides it.
func SizeText(n uint64) string {
	for _, u := range []struct {
		bits int
		name string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n>>u.bits<<u.bits == n {
			return fmt.Sprintf("%d%s", n>>u.bits, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// binaryUnit suggests the binary unit for what people often write.
func binaryUnit(n uint64, unit string) string {
	if n == 0 || unit == "" {
		return ""
	}
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if strings.EqualFold(unit[:1], u[:1]) {
			return fmt.Sprintf(": did you mean \"%d%s\"?", n, u)
		}
	}
	return ""
}

// parseRate reads "COUNT/WINDOW".
func parseRate(s string) (Rate, error) {
	count, window, ok := strings.Cut(s, "/")
	n, rest := splitUnit(count)
	if !ok || n == 0 || n > MaxCount || rest != "" {
		return Rate{}, fmt.Errorf("%q is not a rate: write a number of items from 1 to %d, a slash and a window, like 60/1h or 1/30d", s, MaxCount)
	}
	d, err := parseDuration(window, MaxWindow)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %q: %w", s, err)
	}
	return Rate{Count: int(n), Window: d, Text: s}, nil
}

// splitUnit splits digits from what follows; the number is 0 when it is
// missing, has leading zeros or is beyond all bounds.
func splitUnit(s string) (uint64, string) {
	i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	if i < 0 {
		i = len(s)
	}
	n, err := strconv.ParseUint(s[:i], 10, 64)
	if err != nil || s[0] == '0' || n > math.MaxInt64 {
		return 0, s[i:]
	}
	return n, s[i:]
}
