package loop

import (
	"slices"
	"testing"
	"time"
)

// goes runs a loop until the test stops it.
func goes(l *Loop) (stop func()) {
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case f := <-l.Next():
				f()
			case <-quit:
				l.Drain()
				l.Close()
				return
			}
		}
	}()
	return func() { close(quit); <-over }
}

// TestOneAfterAnother: what is handed to the loop runs in order, and what was when it ends still does.
func TestOneAfterAnother(t *testing.T) {
	l := New(Timing{}, nil, nil)
	var did []int // without a lock: the race detector tells
	for i := range 3 {
		l.Post(func() { did = append(did, i) })
	}
	stop := goes(l)
	if !l.Do(func() { did = append(did, 3) }) {
		t.Fatal("a loop that runs is over")
	}
	l.Post(func() { did = append(did, 4) })
	stop()
	if !slices.Equal(did, []int{0, 1, 2, 3, 4}) {
		t.Errorf("it did %v", did)
	}
}

// TestOver: who wants something of a loop that is over learns so, and does not wait.
func TestOver(t *testing.T) {
	l := New(Timing{}, nil, nil)
	goes(l)()
	for l.Post(func() {}) { // until its queue is full: nobody takes it any more
		continue
	}
	if l.Do(func() { t.Error("it goes on") }) {
		t.Error("a loop that is over runs something")
	}
	<-l.Done()
}

// TestTime: timers fire in the loop, waits have defaults, and messages have whole seconds.
func TestTime(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 7, time.FixedZone("", 3600))
	var waits []time.Duration
	l := New(Timing{BusyRetry: time.Minute}, func() time.Time { return noon }, func(d time.Duration, f func()) *time.Timer {
		waits = append(waits, d)
		return time.AfterFunc(0, f)
	})
	fired := make(chan struct{})
	defer goes(l)()
	l.After(l.Waits.BusyRetry, func() { close(fired) })
	<-fired
	l.After(l.Waits.CancelWait, func() {})
	if !slices.Equal(waits, []time.Duration{time.Minute, 5 * time.Second}) {
		t.Errorf("it waited %v", waits)
	}
	if now := l.Now(); now.Format(time.RFC3339Nano) != "2026-01-02T11:00:00Z" || !l.Clock().Equal(noon) {
		t.Errorf("it is %v", now)
	}
}

// TestErrands: all of them are done, in order, before Run returns.
func TestErrands(t *testing.T) {
	e := NewErrands(1)
	var did []int
	over := make(chan struct{})
	go func() { defer close(over); e.Run() }()
	for i := range 5 {
		e.Do(func() { did = append(did, i) })
	}
	e.Close()
	<-over
	if !slices.Equal(did, []int{0, 1, 2, 3, 4}) {
		t.Errorf("it did %v", did)
	}
}
