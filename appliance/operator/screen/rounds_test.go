package screen

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
)

func opens(rule string) operator.Command { return operator.Command{Verb: operator.Open, Rule: rule} }

func isOpen(c, want operator.Command) bool { return c.Verb == want.Verb && c.Rule == want.Rule }

// o opens the round with the mark, n puts the mark on the next, around; the bottom
// line says which, in a number and not in the host's words.
func TestKeysOpenRounds(t *testing.T) {
	s := newTerminal(80, 24)
	v := roundsView()
	s.show(v)
	for i, r := range append(v.Rounds, v.Rounds[0]) {
		last := s.face.Frame(80, 24, s.now).Lines[23].Text
		if want := fmt.Sprintf("o = open round %d  n = next  Tab = more", i%len(v.Rounds)+1); !strings.HasSuffix(last, want) {
			t.Errorf("keys %q, want %q", last, want)
		}
		if c, acts := s.face.Press('o', s.now); !acts || !isOpen(c, opens(r.Rule)) {
			t.Errorf("%+v, want %s", c, r.Rule)
		}
		for range i % len(v.Rounds) { // opened: the mark begins again
			s.press("n")
		}
		s.press("n")
	}
	for _, other := range []operator.View{jobView(1), orderView(), touchView(1, 1), scenes["pin"], scenes["time"], scenes["halted"], idleView()} {
		for _, tab := range []string{"", "\t"} {
			s := newTerminal(80, 24)
			if other.Rounds = v.Rounds; other.Token == "ready" && other.Ask == operator.AskNothing && other.Halted == "" {
				other.Rounds = nil
			}
			s.show(other)
			s.press(tab)
			if c, acts := s.press("no"); acts {
				t.Errorf("%+v while %s is asked", c, other.Ask)
			}
		}
	}
}

// The mark begins at what waits longest and is not open; when that has been opened,
// it is the next's.
func TestTheMarkGoesOnToWhatWaits(t *testing.T) {
	s := newTerminal(80, 24)
	v := roundsView()
	v.Rounds = slices.Clone(v.Rounds)
	v.Rounds[4].State = message.RoundWaiting
	s.show(v)
	if c, _ := s.press("o"); !isOpen(c, opens("core")) {
		t.Errorf("%+v", c)
	}
	v.Rounds = slices.Clone(v.Rounds)
	v.Rounds[0].State = operator.RoundAsked
	s.show(v)
	if c, _ := s.press("o"); !isOpen(c, opens("multilib")) {
		t.Errorf("%+v", c)
	}
	v.Rounds = v.Rounds[1:2]
	s.show(v)
	if c, _ := s.press("o"); !isOpen(c, opens("extra")) {
		t.Errorf("%+v", c)
	}
}

// The page with the mark is on the screen, also of a small display.
func TestTheMarkedRoundIsOnTheScreen(t *testing.T) {
	s := newTerminal(LeastWidth, LeastHeight)
	v := idleView()
	for i := range message.MaxRounds {
		v.Rounds = append(v.Rounds, operator.Round{Rule: fmt.Sprintf("%s-%d", strings.Repeat("r", 58), i), Files: 1, State: message.RoundWaiting, Since: start})
	}
	for _, tab := range []string{"", "\t"} {
		s.show(v)
		s.press(tab)
		for i := 1; i <= message.MaxRounds; i++ {
			if got := s.text(); !strings.Contains(got, fmt.Sprintf("|>%2d. | rr", i)) || !strings.Contains(got, fmt.Sprintf("open round %d ", i)) {
				t.Fatalf("round %d is not the one on the screen:\n%s", i, got)
			}
			s.press("n")
		}
	}
}

// Whatever a host announces, what it announces is behind the bar, and a request that
// is to be decided stands there as if nothing were announced.
func TestRoundsHideNothing(t *testing.T) {
	v := roundsView()
	for _, size := range [][2]int{{LeastWidth, LeastHeight}, {80, 24}, {132, 50}} {
		for name, scene := range scenes {
			if scene.Ask == operator.AskNothing {
				continue
			}
			bare, loud := newTerminal(size[0], size[1]), newTerminal(size[0], size[1])
			loaded := scene
			loaded.Rounds, loaded.MoreRounds = v.Rounds, v.MoreRounds
			if a, b := bare.pages(scene), loud.pages(loaded); a != b {
				t.Errorf("%s on %v: with rounds it is\n%s\nwithout\n%s", name, size, b, a)
			}
			if scene.Job == nil {
				continue
			}
			loud.show(scene) // they come and go: nothing is to be read again, no key is late by that
			loud.show(loaded)
			if !loud.face.consents(loud.now) && scene.Ask == operator.AskArm {
				t.Errorf("%s on %v: an announcement takes the operator's consent away", name, size)
			}
		}
		s := newTerminal(size[0], size[1])
		for line := range strings.Lines(s.pages(v)) {
			for _, claim := range []string{"touch-the-token", "longlong", "999,999", "a-arm"} {
				if i := strings.Index(line, claim); i >= 0 && !strings.Contains(line[:i], "| ") {
					t.Errorf("%v: a claim that is not behind the bar: %q", size, line)
				}
			}
		}
	}
}

// A time of another year says of which.
func TestTimesOfRoundsHaveTheirYear(t *testing.T) {
	now := time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)
	berlin := time.FixedZone("", 3600)
	for _, tc := range []struct {
		since, next time.Time
		want        string
	}{
		{now.Add(-time.Hour), time.Time{}, "core: 1 file since 12-31 22:00 UTC"},
		{now.Add(-time.Hour).In(berlin), now.Add(9 * time.Hour), "core: 1 file since 12-31 22:00 UTC, next round 2027-01-01 08:00 UTC"},
		{now.AddDate(-1, 0, 0), now.Add(time.Minute), "core: 1 file since 2025-12-31 23:00 UTC, next round 12-31 23:01 UTC"},
	} {
		r := operator.Round{Rule: "core", Files: 1, State: message.RoundWaiting, Since: tc.since, Next: tc.next}
		if got := roundText(r, now.In(berlin)); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
