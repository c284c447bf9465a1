package hostd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
)

// driver stands in for whoever drives the rounds: what waits is up to the test.
type driver struct {
	mu     sync.Mutex // guards rounds
	rounds []api.Round
	opened chan []string
}

func (d *driver) set(rounds ...api.Round) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rounds = rounds
}

func (d *driver) serve(_ context.Context, req *api.Request) *api.Response {
	if req.Action == api.RoundOpen {
		d.opened <- req.Rules
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.Response{Final: true, OK: true, Rounds: slices.Clone(d.rounds)}
}

// waitingRound is a rule that has n files to be signed since so many hours.
func waitingRound(rule string, n, hours int) api.Round {
	return api.Round{Rule: rule, Waiting: noon.Add(-time.Duration(hours) * time.Hour).Format(time.RFC3339), Unsigned: make([]string, n)}
}

// TestTheBoardIsToldOfRounds: what waits, when that changes, in this host's name; its operator opens what waits and is no
// urgent round, and is told again; what else the board asks for opens nothing.
func TestTheBoardIsToldOfRounds(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{RoundsLook: time.Millisecond})
	w.stop()
	drive := &driver{opened: make(chan []string, 1)}
	urgent := waitingRound("urgent", 1, 2)
	urgent.Open, urgent.Urgent = true, true
	drive.set(waitingRound("late", 3, 1), waitingRound("early", 2, 5), waitingRound("signed", 0, 9), urgent)
	w.rounds = drive.serve
	w.start()
	w.b.meet()
	m := announcement(w)
	want := []message.Round{
		{Rule: "early", Files: 2, State: message.RoundWaiting, Since: noon.Add(-5 * time.Hour)},
		{Rule: "urgent", Files: 1, State: message.RoundUrgent, Since: noon.Add(-2 * time.Hour)},
		{Rule: "late", Files: 3, State: message.RoundWaiting, Since: noon.Add(-time.Hour)},
	}
	if !slices.Equal(m.Rounds, want) || m.More != 0 || m.Origin != testOrigin || !m.HostTime.Equal(noon) {
		t.Errorf("announced %+v", m)
	}
	w.b.say(&message.OpenRound{Rule: "late"})
	if got := <-drive.opened; !slices.Equal(got, []string{"late"}) {
		t.Errorf("opened %v", got)
	}
	if m := announcement(w); !slices.Equal(m.Rounds, want) {
		t.Errorf("as an answer %+v", m)
	}
	for _, rule := range []string{"urgent", "signed", "nothing"} {
		w.b.say(&message.OpenRound{Rule: rule})
		if m := announcement(w); !slices.Equal(m.Rounds, want) || len(drive.opened) > 0 {
			t.Errorf("%s: opened %d, announced %+v", rule, len(drive.opened), m)
		}
	}
	var many []api.Round
	for i := range round.MaxRules {
		many = append(many, waitingRound(fmt.Sprint("r", i), 1, i))
	}
	many[0].Open, many[63].Next = true, noon.Add(time.Hour).Format(time.RFC3339)
	drive.set(many...)
	if m := announcement(w); len(m.Rounds) != message.MaxRounds || m.More != round.MaxRules-message.MaxRounds || m.Rounds[0].Rule != "r63" || !m.Rounds[0].Next.Equal(noon.Add(time.Hour)) {
		t.Errorf("of many %+v", m)
	}
	w.b.drop()
	w.b.meet() // a board that was away knows of none
	if m := announcement(w); len(m.Rounds) != message.MaxRounds {
		t.Errorf("in another session %+v", m)
	}
	drive.set()
	if m := announcement(w); len(m.Rounds) != 0 || m.More != 0 {
		t.Errorf("of none %+v", m)
	}
}

// TestRoundsAfterAWrongClock: what the board did not take for a wrong clock it is told again, that nothing waits too.
func TestRoundsAfterAWrongClock(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{RoundsLook: time.Millisecond, SkewRetry: time.Millisecond})
	w.stop()
	drive := &driver{opened: make(chan []string, 1)}
	drive.set(waitingRound("core", 1, 2))
	w.rounds = drive.serve
	w.start()
	w.b.meet()
	for want := range []int{1, 0} {
		want = 1 - want
		for range 3 {
			if m := announcement(w); len(m.Rounds) != want {
				t.Fatalf("%d rounds, want %d", len(m.Rounds), want)
			}
			w.b.say(&message.Refused{Code: message.CodeClockSkew, Text: "set the wrong one"})
		}
		if m := announcement(w); len(m.Rounds) != want {
			t.Fatalf("%d rounds, want %d", len(m.Rounds), want)
		}
		drive.set()
	}
}

// announcement is the next that the board gets, signed by the host.
func announcement(w *world) *message.Rounds {
	w.t.Helper()
	m := hear[*message.RoundsNote](w.b)
	if _, by, err := message.OpenNote(m.Note, []note.Verifier{w.b.host}); err != nil || len(by) != 1 {
		w.t.Fatalf("not signed by the host: %v", err)
	}
	return &m.Rounds
}
