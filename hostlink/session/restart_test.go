package session

import (
	"fmt"
	"testing"
	"time"
)

// part of a conversation: what happens at a time after its beginning.
type part struct {
	at time.Duration
	do func(w *world)
}

// conversation is everything that a session does: opening, messages both ways on
// both channels, fragments, a gap and its mending, a hold, keep-alive, an end in
// good order and the next session.
var conversation = []part{
	{0, func(w *world) { w.each(40) }},
	{500 * time.Millisecond, func(w *world) { w.each(40) }},
	{520 * time.Millisecond, func(w *world) { w.each(1300) }},
	{1500 * time.Millisecond, func(w *world) { w.each(1300) }},
	{1600 * time.Millisecond, func(w *world) { w.fault(faults{cut: true}) }},
	{1700 * time.Millisecond, func(w *world) { w.fault(faults{}) }},
	{2500 * time.Millisecond, func(w *world) { w.nodes[1].deaf = true; w.crowd(0) }},
	{3 * time.Second, func(w *world) { w.frames = true; w.each(1) }},
	{3300 * time.Millisecond, func(w *world) { w.nodes[1].deaf = false }},
	{3500 * time.Millisecond, func(w *world) { w.nodes[0].deaf = true; w.crowd(1) }},
	{4 * time.Second, func(w *world) { w.frames = true; w.each(1) }},
	{4300 * time.Millisecond, func(w *world) { w.nodes[0].deaf = false }},
	{11 * time.Second, func(w *world) { w.nodes[1].conn.Close() }},
	{11100 * time.Millisecond, func(w *world) { w.replace(1) }},
	{12 * time.Second, func(w *world) { w.each(700) }},
	{13 * time.Second, func(w *world) { w.nodes[0].conn.Close() }},
	{13100 * time.Millisecond, func(w *world) { w.replace(0) }},
	{14 * time.Second, func(w *world) { w.each(40) }},
	{15 * time.Second, func(*world) {}},
}

// each sends a message on every channel in both directions, where there is a
// session.
func (w *world) each(size int) {
	for i := range w.nodes {
		for ch := range Channels {
			w.send(i, ch, size)
		}
	}
}

// crowd sends as many messages as the other end may keep unread, few steps for
// all of them.
func (w *world) crowd(from int) {
	w.frames = false
	for range recvQueueItems {
		w.send(from, Interactive, 1)
	}
}

// replace restarts an end that was closed, unless it is a new one already.
func (w *world) replace(i int) {
	if w.nodes[i].conn.state == closed {
		w.note(i)
		w.read(i)
		w.restart(i)
	}
}

// note adds up what an end that is about to be replaced has counted.
func (w *world) note(i int) {
	st := w.nodes[i].conn.Stats()
	w.holds[i] += st.Held
	w.resent[i] += st.Resent
}

// play runs the conversation; before is called before each of its steps.
func play(t tester, before func(w *world, step int)) *world {
	w := newWorld(t, 1, 115200, Config{Baud: 115200})
	w.frames, w.cuts = true, merged
	if before != nil {
		w.before = func(step int) { before(w, step) }
	}
	for _, p := range conversation {
		w.run(p.at - w.now.Sub(epoch))
		p.do(w)
	}
	return w
}

// loseLine loses what is on the line, as a pulled cable does.
func (w *world) loseLine() {
	for _, n := range w.nodes {
		n.out = nil
	}
}

// disturbances are what can come between two steps. After the first five the
// session before cannot go on.
var disturbances = []struct {
	name string
	ends bool
	do   func(w *world)
}{
	{"initiator restarts", true, func(w *world) { w.restart(0) }},
	{"responder restarts", true, func(w *world) { w.restart(1) }},
	{"both restart", true, func(w *world) { w.restart(0); w.restart(1) }},
	{"initiator restarts, the line is lost", true, func(w *world) { w.restart(0); w.loseLine() }},
	{"responder restarts, the line is lost", true, func(w *world) { w.restart(1); w.loseLine() }},
	{"cut for three seconds", false, func(w *world) { w.loseLine(); w.cutFor(3*time.Second, 0, 1) }},
	{"cut for twenty seconds", false, func(w *world) { w.loseLine(); w.cutFor(20*time.Second, 0, 1) }},
	{"responder hears nothing for twenty seconds", false, func(w *world) { w.cutFor(20*time.Second, 0) }},
	{"initiator hears nothing for twenty seconds", false, func(w *world) { w.cutFor(20*time.Second, 1) }},
	{"initiator sleeps for twenty seconds", false, func(w *world) { w.nodes[0].asleep = w.now.Add(20 * time.Second) }},
	{"responder sleeps for twenty seconds", false, func(w *world) { w.nodes[1].asleep = w.now.Add(20 * time.Second) }},
}

// cutFor cuts directions of the line; the world goes on meanwhile.
func (w *world) cutFor(d time.Duration, from ...int) {
	for _, i := range from {
		w.nodes[i].cutTill = w.now.Add(d)
	}
}

// TestDisturbedAtEveryStep plays the conversation once for each of its steps (a
// frame arrives, or a timer runs out) and each disturbance in front of it: both
// ends restarted, cable cut, process asleep. Each time what is delivered is a
// prefix of what was sent in the same session, nothing of one session appears in
// another (compared by the world throughout), and afterwards both ends are in one
// session, a new one if the old cannot go on, which carries everything.
func TestDisturbedAtEveryStep(t *testing.T) {
	calm := play(t, nil)
	steps := calm.count
	calm.quiet()
	calm.complete()
	calm.note(0)
	calm.note(1)
	for i, n := range calm.nodes {
		if st := n.conn.Stats(); n.ups != 3 || calm.holds[i] == 0 || calm.resent[i] == 0 {
			t.Errorf("end %d: %d sessions, %d holds, %d fragments sent again: the conversation misses something; %+v", i, n.ups, calm.holds[i], calm.resent[i], st)
		}
	}
	t.Logf("%d steps, %d disturbances of each, bytes %d up, %d down", steps, len(disturbances), calm.nodes[0].bytes, calm.nodes[1].bytes)
	for _, d := range disturbances {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for at := 0; at < steps; at += everyStep {
				disturbed(&labelled{t, fmt.Sprintf("before step %d: ", at)}, at, d.ends, d.do)
			}
		})
	}
}

// disturbed plays the conversation with a disturbance before one step.
func disturbed(t tester, at int, ends bool, disturb func(*world)) {
	var old [2]uint32
	w := play(t, func(w *world, step int) {
		if step == at {
			old = [2]uint32{w.nodes[0].conn.sid, w.nodes[1].conn.sid}
			disturb(w)
		}
	})
	w.before = nil
	w.run(21 * time.Second) // what was cut or slept is back
	w.quiet()
	w.each(40)
	w.quiet()
	w.complete()
	if sid := w.nodes[0].conn.sid; ends && (sid == old[0] || sid == old[1]) {
		t.Fatalf("the old session %08x goes on", sid)
	}
	for i, n := range w.nodes {
		for ch := range Channels {
			if len(n.sent[key(n.conn.sid, i, ch)]) == 0 {
				t.Fatalf("end %d sent nothing on channel %d of the last session", i, ch)
			}
		}
	}
}

// quiet lets the world go on until both ends are in one session with nothing on
// its way.
func (w *world) quiet() {
	w.t.Helper()
	for range 200 {
		w.run(500 * time.Millisecond)
		a, b := w.nodes[0].conn, w.nodes[1].conn
		if a.Up() && b.Up() && a.sid == b.sid && a.tx.empty() && b.tx.empty() && w.lineEmpty() {
			return
		}
	}
	w.t.Fatalf("no common session at rest")
}

func (w *world) lineEmpty() bool { return len(w.nodes[0].out)+len(w.nodes[1].out) == 0 }

// labelled says where a failure was.
type labelled struct {
	tester
	label string
}

func (l *labelled) Fatalf(format string, args ...any) {
	l.Helper()
	l.tester.Fatalf(l.label+format, args...)
}
