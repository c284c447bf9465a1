package loop

import (
	"slices"
	"testing"
)

// The operator comes before devices, and these before the host; whoever posts to
// a loop that is over does not wait.
func TestLoopOrder(t *testing.T) {
	l := New()
	var got []string
	say := func(s string) func() { return func() { got = append(got, s) } }
	for range 2 {
		l.PostHost(say("host"))
		l.Post(say("device"))
		l.PostOperator(say("operator"))
	}
	for range 6 {
		l.Next(t.Context())()
	}
	if want := []string{"operator", "operator", "device", "device", "host", "host"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	l.Close()
	for range cap(l.host) + 1 { // dropped, but never waited for
		l.PostHost(say("late"))
	}
}
