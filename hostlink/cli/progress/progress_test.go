package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
)

func TestWithSeconds(t *testing.T) {
	for left, want := range map[time.Duration]string{
		15 * time.Second: "x: 15 s left", 14001 * time.Millisecond: "x: 15 s left", time.Millisecond: "x: 1 s left", 0: "x", -time.Second: "x",
	} {
		if got := withSeconds("x", left); got != want {
			t.Errorf("%s: %q, want %q", left, got, want)
		}
	}
}

// Without a terminal a state is told once, with what is left of it.
func TestEventsAreToldOnce(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, false)
	p.Event(&api.Event{State: "shown", Job: strings.Repeat("ab", 32), Seconds: 600}, 1)
	p.Event(&api.Event{State: "shown", Job: strings.Repeat("ab", 32), Seconds: 600}, 1)
	p.Event(&api.Event{State: "armed"}, 1)
	p.Event(&api.Event{State: "touch", Item: 1, Seconds: 15}, 2)
	p.Event(&api.Event{State: "brewing"}, 1)
	want := `touchmark: on the appliance's display: waiting for the operator to arm it (job abababababababab)
touchmark: armed: committing it to the log
touchmark: waiting for the touch (2 of 2): 15 s left
touchmark: brewing
`
	if out.String() != want {
		t.Errorf("said\n%s\nwant\n%s", out.String(), want)
	}
}

// screen is a terminal that wakes whoever waits for something to be on it.
type screen struct {
	mu   sync.Mutex
	text string
	more chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(b)
	close(s.more)
	s.more = make(chan struct{})
	return len(b), nil
}

func (s *screen) await(part string) {
	for {
		s.mu.Lock()
		there, more := strings.Contains(s.text, part), s.more
		s.mu.Unlock()
		if there {
			return
		}
		<-more
	}
}

// On a terminal the seconds run, until something else is told.
func TestCountdownOnATerminal(t *testing.T) {
	s := &screen{more: make(chan struct{})}
	p := &Display{w: s, tty: true}
	p.Event(&api.Event{State: "touch", Seconds: 2}, 1)
	s.await("touch: ")                  // 2 s left, or fewer: a machine may be busy in between
	s.await("\rwaiting for the touch ") // over, and the token has not answered yet
	p.Event(&api.Event{State: "token-wait", Seconds: 2}, 1)
	s.await("free: ")
	s.await("\rdenied at the appliance: waiting until the token is free ")
	p.Clear()
	if !p.until.IsZero() {
		t.Error("the countdown goes on")
	}
}
