package round

import (
	"fmt"
	"slices"
	"time"
)

// Rule is one [[watch]] table as far as rounds go (docs/rounds.md).
type Rule struct {
	Name   string
	Class  string // of the policy, in ordinary rounds
	Urgent string // of the policy, in urgent ones; "" has none
	Batch  int    // items in one request, 1 to MaxBatch

	Always bool          // the round never closes
	At     []Daytime     // when rounds open, every day; ascending
	Every  time.Duration // or how long after the last one opened; 0 for neither: the operator opens them
	Window time.Duration // how long a round stays open
	Stale  time.Duration // how long something may wait for its signature before that is an alarm; 0 for ever
}

// Daytime is a time of day in minutes since midnight, by the host's local clock.
type Daytime int

// ParseDaytime reads "08:30".
func ParseDaytime(s string) (Daytime, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%q is no time of day: write for example \"08:30\"", s)
	}
	return Daytime(t.Hour()*60 + t.Minute()), nil
}

// NextRound is when the round after one that opened at last opens, in last's
// location: the zero time if only people open rounds.
func (r *Rule) NextRound(last time.Time) time.Time {
	if r.Every > 0 {
		return last.Add(r.Every)
	}
	y, m, d := last.Date()
	for day := range 3 { // where a clock change swallows a time of day, tomorrow's counts
		for _, at := range r.At {
			t := time.Date(y, m, d+day, int(at)/60, int(at)%60, 0, 0, last.Location())
			if t.After(last) {
				return t
			}
		}
	}
	return time.Time{}
}

// Check says what is wrong with a set of rules, as a person would mend it.
func Check(rules []Rule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("%d rules: use up to %d", len(rules), MaxRules)
	}
	for i, r := range rules {
		if slices.ContainsFunc(rules[:i], func(o Rule) bool { return o.Name == r.Name }) {
			return fmt.Errorf("two rules are called %q: rename one", r.Name)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
	}
	return nil
}

func (r *Rule) check() error {
	ways := 0
	for _, chosen := range []bool{r.Always, len(r.At) > 0, r.Every > 0} {
		if chosen {
			ways++
		}
	}
	switch {
	case r.Name == "" || r.Class == "":
		return fmt.Errorf("name and class must be given")
	case r.Class == r.Urgent:
		return fmt.Errorf("urgent = %q is the ordinary class: an urgent one has rates of its own in the policy", r.Urgent)
	case r.Batch < 1 || r.Batch > MaxBatch:
		return fmt.Errorf("batch = %d: use 1 to %d", r.Batch, MaxBatch)
	case ways > 1:
		return fmt.Errorf("use one of always, at and every")
	case r.Window < time.Minute || r.Window > MaxWindow:
		return fmt.Errorf("window %s: use 1m to %s", r.Window, MaxWindow)
	case r.Every != 0 && r.Every < r.Window:
		return fmt.Errorf("every %s is shorter than the window of %s: use always = true", r.Every, r.Window)
	case r.Stale < 0 || !slices.IsSorted(r.At):
		return fmt.Errorf("times of day must ascend, and stale must not be negative")
	}
	return nil
}
