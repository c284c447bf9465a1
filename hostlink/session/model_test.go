package session

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestModel runs random schedules of sending, faults, restarts, deaf readers
// and blocked writers against the ideal queue, then mends the line and expects
// everything of the last session to arrive.
func TestModel(t *testing.T) {
	rounds := 12 // of 100 schedules each; -rapid.checks multiplies
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		rapid.Check(t, schedule)
	}
}

func schedule(t *rapid.T) {
	baud := rapid.SampledFrom([]int{0, 9600, 115200, 921600}).Draw(t, "line")
	configured := rapid.SampledFrom([]int{baud, 0, 115200}).Draw(t, "configured")
	w := newWorld(t, rapid.Uint64().Draw(t, "seed"), baud, Config{Baud: configured})
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		act(t, w)
		w.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
	}
	w.f = faults{}
	for _, n := range w.nodes {
		n.deaf, n.silent = false, false
	}
	w.rest()
	for i := range w.nodes {
		for ch := range Channels {
			if err := w.send(i, ch, 5000); err != nil {
				t.Fatalf("end %d, channel %d on a good line: %v", i, ch, err)
			}
		}
	}
	w.rest()
	w.complete()
}

// act changes one thing in the world.
func act(t *rapid.T, w *world) {
	end := rapid.IntRange(0, 1).Draw(t, "end")
	switch rapid.IntRange(0, 9).Draw(t, "act") {
	case 0:
		w.restart(end)
	case 1:
		w.f = faults{cut: true}
	case 2:
		w.f = faults{}
	case 3:
		w.nodes[end].deaf = !w.nodes[end].deaf
	case 4:
		w.nodes[end].silent = !w.nodes[end].silent
	case 5:
		p := func(name string) float64 { return rapid.SampledFrom([]float64{0, 0, 0.05, 0.3}).Draw(t, name) }
		w.f = faults{p("drop"), p("dup"), p("flip"), p("delay"), p("garbage"), p("shear"), false}
	default:
		size := rapid.SampledFrom([]int{1, 300, 4096, 20000, MaxMessage}).Draw(t, "size")
		ch := rapid.IntRange(0, 1).Draw(t, "channel")
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			w.send(end, ch, size)
		}
	}
}
