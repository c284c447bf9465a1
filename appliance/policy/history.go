package policy

import (
	"slices"
	"sort"
	"time"
)

// History counts the items that used up rates: the caller adds every item
// that was signed, is withheld or of unknown outcome, at the time of its
// intent. It is filled from the log, so it survives restarts and the auditor
// builds the same. Not safe for concurrent use.
type History struct {
	classes map[string]*track
}

// track holds the events of one class in rising order of time. sums[i] is the
// number of items of all events before i (and of those forgotten), so any
// window is one binary search.
type track struct {
	times []time.Time
	sums  []int // len(times)+1
}

// NewHistory returns an empty history.
func NewHistory() *History { return &History{classes: map[string]*track{}} }

// Add counts items of a class at time t. Times may come in any order; rising
// ones are cheapest.
func (h *History) Add(class string, t time.Time, items int) {
	if items <= 0 {
		return
	}
	tr := h.classes[class]
	if tr == nil {
		tr = &track{sums: []int{0}}
		h.classes[class] = tr
	}
	i := tr.after(t)
	tr.times = slices.Insert(tr.times, i, t)
	tr.sums = slices.Insert(tr.sums, i+1, tr.sums[i])
	for j := i + 1; j < len(tr.sums); j++ {
		tr.sums[j] += items
	}
}

// Count gives the items of a class later than since: an event exactly at
// since has left the window. Events in the future count.
func (h *History) Count(class string, since time.Time) int {
	tr := h.classes[class]
	if tr == nil {
		return 0
	}
	return tr.sums[len(tr.times)] - tr.sums[tr.after(since)]
}

// Forget drops events before the given time, to bound memory. Counts since a
// time not earlier than before stay the same.
func (h *History) Forget(before time.Time) {
	for class, tr := range h.classes {
		i := sort.Search(len(tr.times), func(i int) bool { return !tr.times[i].Before(before) })
		if i == len(tr.times) {
			delete(h.classes, class)
			continue
		}
		tr.times = slices.Clone(tr.times[i:])
		tr.sums = slices.Clone(tr.sums[i:])
	}
}

// after is the index of the first event later than t.
func (tr *track) after(t time.Time) int {
	return sort.Search(len(tr.times), func(i int) bool { return tr.times[i].After(t) })
}

// freeAgain says when items more will fit a rate.
func (h *History) freeAgain(class string, rate Rate, now time.Time, items int) string {
	tr := h.classes[class]
	if items > rate.Count || tr == nil {
		return "never so many at once, split the batch"
	}
	must := tr.sums[len(tr.times)] - (rate.Count - items) // items that must have left the window
	i := sort.SearchInts(tr.sums, must)
	return "try again at " + clock(tr.times[i-1].Add(rate.Window))
}
