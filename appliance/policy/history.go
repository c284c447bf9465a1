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
//
// It takes 16 bytes for each second in which something was signed, and of a
// class no more than its newest MaxCount items: any window that holds those is
// full whatever the rate, so what is older decides nothing.
type History struct {
	classes map[string]*track
	most    int64 // MaxCount, less in tests
}

// track holds the events of one class in rising order of time.
type track struct {
	events []event
	gone   int64 // items of events before these
}

// event is what was signed in one second, since 1970; sum is the number of
// items of all events up to and with this one, so any window is one binary
// search.
type event struct{ at, sum int64 }

// NewHistory returns an empty history.
func NewHistory() *History { return &History{classes: map[string]*track{}, most: MaxCount} }

// Add counts items of a class at time t, in whole seconds like every time in
// the log. Times may come in any order; rising ones are cheapest.
func (h *History) Add(class string, t time.Time, items int) {
	if items <= 0 {
		return
	}
	tr := h.classes[class]
	if tr == nil {
		tr = &track{}
		h.classes[class] = tr
	}
	i := tr.after(t)
	if i == 0 || tr.events[i-1].at != t.Unix() {
		tr.events = slices.Insert(tr.events, i, event{t.Unix(), tr.before(i)})
		i++
	}
	for j := i - 1; j < len(tr.events); j++ {
		tr.events[j].sum += int64(items)
	}
	for tr.total()-tr.events[0].sum >= h.most {
		tr.drop(1)
	}
}

// Count gives the items of a class later than since: an event exactly at
// since has left the window. Events in the future count. At MaxCount and above
// the number may be too small, but not below MaxCount.
func (h *History) Count(class string, since time.Time) int {
	tr := h.classes[class]
	if tr == nil {
		return 0
	}
	return int(tr.total() - tr.before(tr.after(since)))
}

// Forget drops events before the given time, to bound memory. Counts since a
// time not earlier than before stay the same.
func (h *History) Forget(before time.Time) {
	for class, tr := range h.classes {
		n := tr.after(before.Add(-time.Second))
		if n == len(tr.events) {
			delete(h.classes, class)
			continue
		}
		tr.drop(n)
	}
}

// after is the index of the first event later than t.
func (tr *track) after(t time.Time) int {
	return sort.Search(len(tr.events), func(i int) bool { return tr.events[i].at > t.Unix() })
}

// before is the number of items of all events before event i.
func (tr *track) before(i int) int64 {
	if i == 0 {
		return tr.gone
	}
	return tr.events[i-1].sum
}

func (tr *track) total() int64 { return tr.before(len(tr.events)) }

// drop forgets the oldest n events; appending moves the others to the front of
// a new array now and then.
func (tr *track) drop(n int) { tr.gone, tr.events = tr.before(n), tr.events[n:] }

// freeAgain says when items more will fit a rate.
func (h *History) freeAgain(class string, rate Rate, items int) string {
	tr := h.classes[class]
	if items > rate.Count || tr == nil {
		return "never so many at once, split the batch"
	}
	must := tr.total() - int64(rate.Count-items) // all up to this item must have left the window
	i := sort.Search(len(tr.events), func(i int) bool { return tr.events[i].sum >= must })
	return "try again at " + clock(time.Unix(tr.events[i].at, 0).Add(rate.Window))
}
