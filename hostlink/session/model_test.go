package session

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// scheduleSeed says which random schedules TestModel runs: the same in every run.
// The environment variable TOUCHMARK_SEED names others, TOUCHMARK_SCHEDULES how
// many (CONTRIBUTING.md).
const scheduleSeed = 20261122

// TestModel runs random schedules of sending, faults, restarts, deaf and slow
// readers, blocked writers and sleeping processes against the ideal queue, then
// mends the line and expects everything of the last session to arrive. The
// schedules are the same in every run; a failure prints how to repeat it alone.
func TestModel(t *testing.T) {
	set := func(name, env string, standard int) {
		value := os.Getenv(env)
		if value == "" {
			value = strconv.Itoa(standard)
		}
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatalf("%s=%q: %v", env, value, err)
		}
		t.Cleanup(func() { flag.Set(name, old) })
	}
	set("rapid.checks", "TOUCHMARK_SCHEDULES", schedules)
	if flag.Lookup("rapid.seed").Value.String() == "0" {
		set("rapid.seed", "TOUCHMARK_SEED", scheduleSeed)
	}
	var seen census
	rapid.Check(t, func(t *rapid.T) { seen.schedule(t) })
	t.Logf("%+v", seen)
	if !t.Failed() && (seen.Messages == 0 || seen.Resent == 0 || seen.Held == 0 || seen.Sessions < 2*seen.Schedules) {
		t.Errorf("the schedules try too little: %+v", seen)
	}
}

// census is what all schedules together have seen.
type census struct {
	Schedules, Sessions, Sent, Messages int
	Frames, Bad, Resent, Copies, Held   uint64
	Most                                held
}

func (s *census) schedule(t *rapid.T) {
	baud := rapid.SampledFrom([]int{0, 9600, 115200, 921600}).Draw(t, "line")
	configured := rapid.SampledFrom([]int{baud, baud, 0, 115200}).Draw(t, "configured")
	w := newWorld(t, rapid.Uint64().Draw(t, "seed"), baud, Config{Baud: configured})
	w.cuts = rapid.SampledFrom([]cuts{anywhere, merged, merged, merged, merged, merged, merged, single}).Draw(t, "cuts")
	for range rapid.IntRange(1, 15).Draw(t, "steps") {
		act(t, w)
		w.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
	}
	for _, n := range w.nodes {
		n.f, n.deaf, n.silent, n.pause, n.doze, n.asleep = faults{}, false, false, 0, 0, time.Time{}
	}
	w.rest()
	for i := range w.nodes {
		for ch := range Channels {
			if err := w.send(i, ch, 1000); err != nil {
				t.Fatalf("end %d, channel %d on a good line: %v", i, ch, err)
			}
		}
	}
	w.rest()
	w.complete()
	s.count(w)
}

func (s *census) count(w *world) {
	s.Schedules++
	s.Most = held{max(s.Most.received, w.most.received), max(s.Most.sent, w.most.sent)}
	for _, n := range w.nodes {
		s.Sessions += n.ups
		for _, m := range n.got {
			s.Messages += len(m)
		}
		for _, m := range n.sent {
			s.Sent += len(m)
		}
		st := n.conn.Stats()
		s.Frames += st.Frames.Frames
		s.Bad += st.Frames.Refused()
		s.Resent += st.Resent
		s.Copies += st.Copies
		s.Held += st.Held
	}
}

// act changes one thing in the world.
func act(t *rapid.T, w *world) {
	end := rapid.IntRange(0, 1).Draw(t, "end")
	n := w.nodes[end]
	switch rapid.IntRange(0, 15).Draw(t, "act") {
	case 0:
		w.restart(end)
	case 1:
		w.fault(faults{cut: true})
	case 2: // one direction only
		n.f = faults{cut: true}
	case 3:
		w.fault(faults{})
	case 4:
		n.deaf = !n.deaf
	case 5:
		n.silent = !n.silent
	case 6:
		n.pause = time.Duration(rapid.SampledFrom([]int{0, 1, 50, 700}).Draw(t, "pause")) * time.Millisecond
	case 7:
		n.doze = time.Duration(rapid.SampledFrom([]int{0, 30, 400}).Draw(t, "doze")) * time.Millisecond
	case 8:
		n.asleep = w.now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "sleep")) * time.Millisecond)
	case 9, 10:
		p := func(name string) float64 {
			return rapid.SampledFrom([]float64{0, 0, 0.05, 0.3}).Draw(t, name)
		}
		w.fault(faults{drop: p("drop"), dup: p("dup"), flip: p("flip"), delay: p("delay"), garbage: p("garbage"), shear: p("shear"), storm: p("storm") / 3})
	case 11: // more than the other end's layer above takes
		w.nodes[1-end].deaf = true
		size := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 6000}).Draw(t, "crowd")
		if w.real == 9600 {
			size = 1
		}
		for range 2 {
			for ch := range Channels {
				for range sendQueueMessages {
					w.send(end, ch, size)
				}
			}
			w.run(500 * time.Millisecond)
		}
	default:
		size := rapid.SampledFrom([]int{1, 30, 100, 300, 1000, 3000, 20000}).Draw(t, "size")
		if size == 20000 && w.real != 9600 && rapid.IntRange(0, 5).Draw(t, "long") == 0 {
			size = MaxMessage
		}
		ch := rapid.IntRange(0, 1).Draw(t, "channel")
		for range rapid.IntRange(1, 9000/(size+300)+1).Draw(t, "messages") {
			w.send(end, ch, size)
		}
	}
}
