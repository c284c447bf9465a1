package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"touchmark/hostlink/frame"
)

// tester is what *testing.T and *rapid.T share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// epoch is when the virtual clock starts.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// driverBuffer is what a serial driver takes ahead of the line.
const driverBuffer = 4096

// faults are probabilities per write on one direction of the line.
type faults struct {
	drop, dup, flip, delay, garbage, shear, storm float64
	cut                                           bool
}

// cuts says in which pieces bytes reach Input.
type cuts int

const (
	anywhere cuts = iota // each write in random pieces
	merged               // all that is there at once, as after a busy moment
	single               // byte by byte
)

// chunk is bytes on their way.
type chunk struct {
	at    time.Time
	bytes []byte
}

// node is one end in the virtual world.
type node struct {
	conn    *Conn
	out     []chunk   // on their way to the other end
	free    time.Time // the line has sent everything
	bytes   int       // put on the line
	sent    map[string][]string
	got     map[string][]string
	ups     int
	downs   []Reason
	f       faults
	deaf    bool          // the layer above does not read
	silent  bool          // the writer is blocked
	pause   time.Duration // the layer above reads one event this often; 0: all at once
	readAt  time.Time     // not before this
	doze    time.Duration // the process comes late by up to this, again and again
	asleep  time.Time     // it does nothing at all before this: no input, timer, output
	cutTill time.Time     // nothing it sends arrives before this
	lastSID uint32
	damage  func([]byte) // done to everything it sends
}

// noise is where messages are taken from: half of it zeros.
var noise = func() []byte {
	b, r := make([]byte, 2*MaxMessage), rand.New(rand.NewPCG(7, 7))
	for i := range b {
		b[i] = byte(r.Uint32()) & byte(-int8(r.UintN(2)))
	}
	return b
}()

// world is two ends, a line with faults, and the ideal queue to compare with.
type world struct {
	t     tester
	rng   *rand.Rand
	now   time.Time
	real  int // line rate in baud, 0 for none
	cfg   Config
	cuts  cuts
	nodes [2]*node // initiator, responder
	seen  func(from int, wire []byte)
	most  held // of both ends, ever
	steps int

	frames bool          // each frame is a write of its own
	before func(now int) // called before each arrival and timer, with its number
	count  int           // of these

	holds, resent [2]uint64 // of ends that were replaced in good order
}

// fault puts the same faults on both directions.
func (w *world) fault(f faults) { w.nodes[0].f, w.nodes[1].f = f, f }

func newWorld(t tester, seed uint64, realBaud int, cfg Config) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, real: realBaud, cfg: cfg}
	w.cfg.Nonce = func() (n [8]byte) {
		binary.BigEndian.PutUint64(n[:], w.rng.Uint64())
		return n
	}
	for i := range w.nodes {
		w.nodes[i] = &node{sent: map[string][]string{}, got: map[string][]string{}}
		w.restart(i)
	}
	return w
}

// restart replaces one end by a fresh process.
func (w *world) restart(i int) {
	cfg := w.cfg
	cfg.Initiator = i == 0
	w.nodes[i].conn = New(cfg, w.now)
	w.nodes[i].lastSID = 0
}

func key(sid uint32, from, channel int) string { return fmt.Sprintf("%08x/%d/%d", sid, from, channel) }

// send offers a message to one end and, if it is taken, to the ideal queue.
func (w *world) send(i, channel, size int) error {
	n := w.nodes[i]
	at := w.rng.IntN(len(noise) - size)
	msg := slices.Clone(noise[at : at+size])
	err := n.conn.Send(n.conn.sid, channel, msg)
	if err == nil {
		k := key(n.conn.sid, i, channel)
		n.sent[k] = append(n.sent[k], string(msg))
		msg[0] ^= 0xff // Send must have copied
	}
	return err
}

// run lets the world go on for d.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 2_000_000 {
			w.t.Fatalf("the world does not come to rest")
		}
		w.settle()
		next := w.next()
		if next.IsZero() || next.After(end) {
			break
		}
		w.now = later(w.now, next)
		if w.before != nil {
			w.before(w.count)
		}
		w.count++
		w.arrive()
	}
	w.now = end
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// settle lets both ends write and read all they can at this instant.
func (w *world) settle() {
	w.steps++
	for i, n := range w.nodes {
		if w.now.Before(n.asleep) {
			continue
		}
		w.write(i)
		w.read(i)
		w.write(i)
		if w.steps%16 == 0 {
			w.measure(n)
		}
		if n.doze > 0 {
			n.asleep = w.now.Add(time.Duration(w.rng.Int64N(int64(n.doze))))
		}
	}
}

func (w *world) write(i int) {
	n := w.nodes[i]
	for rounds := 0; !n.silent && !w.blocked(n); rounds++ {
		if rounds > 1000 {
			w.t.Fatalf("endless output")
		}
		out := n.conn.Output(w.now, driverBuffer)
		if len(out) == 0 {
			return
		}
		n.bytes += len(out)
		if w.seen != nil {
			w.seen(i, out)
		}
		if !w.frames {
			w.transmit(n, slices.Clone(out))
			continue
		}
		for p := range bytes.SplitAfterSeq(out, []byte{frame.Delimiter}) {
			if len(p) > 0 {
				w.transmit(n, slices.Clone(p))
			}
		}
	}
}

func (w *world) blocked(n *node) bool {
	return n.free.Sub(w.now) > w.lineTime(driverBuffer)
}

func (w *world) lineTime(bytes int) time.Duration {
	if w.real == 0 {
		return 0
	}
	return time.Duration(bytes) * bitsPerByte * time.Second / time.Duration(w.real)
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// transmit puts bytes on the line, with its faults.
func (w *world) transmit(n *node, p []byte) {
	n.free = later(n.free, w.now).Add(w.lineTime(len(p)))
	at := n.free.Add(200 * time.Microsecond)
	if n.f.cut || w.now.Before(n.cutTill) || w.chance(n.f.drop) {
		return
	}
	p = w.spoil(n, p)
	if w.chance(n.f.dup) {
		n.out = append(n.out, chunk{at.Add(time.Duration(w.rng.IntN(int(3 * time.Second)))), slices.Clone(p)})
	}
	if w.chance(n.f.delay) { // overtaken by what follows
		at = at.Add(time.Duration(w.rng.IntN(int(500 * time.Millisecond))))
	}
	n.out = append(n.out, chunk{at, p})
}

// spoil changes, removes and inserts bytes.
func (w *world) spoil(n *node, p []byte) []byte {
	if n.damage != nil {
		n.damage(p)
	}
	if w.chance(n.f.flip) {
		p[w.rng.IntN(len(p))] ^= 1 << w.rng.IntN(8)
	}
	if w.chance(n.f.shear) { // bytes lost inside: frames melt together
		a := w.rng.IntN(len(p))
		p = slices.Delete(p, a, min(len(p), a+1+w.rng.IntN(20)))
	}
	if w.chance(n.f.garbage) {
		p = w.insert(p, 40, func() byte { return byte(w.rng.Uint32()) })
	}
	if w.chance(n.f.storm) { // a line at rest read as zeros, or a long burst that is no frame
		fill := byte(0)
		if w.chance(0.3) {
			fill = byte(1 + w.rng.IntN(255))
		}
		p = w.insert(p, 6000, func() byte { return fill })
	}
	return p
}

// insert puts up to most bytes somewhere into p.
func (w *world) insert(p []byte, most int, fill func() byte) []byte {
	g := make([]byte, w.rng.IntN(most))
	for i := range g {
		g[i] = fill()
	}
	return slices.Insert(p, w.rng.IntN(len(p)+1), g...)
}

// next is when something happens by itself.
func (w *world) next() (at time.Time) {
	for i, n := range w.nodes {
		asleep := w.now.Before(n.asleep)
		if asleep {
			at = earlier(at, n.asleep)
		} else {
			at = earlier(at, n.conn.Deadline())
			at = earlier(at, n.readAt)
		}
		if !asleep && !n.silent && w.blocked(n) {
			at = earlier(at, n.free.Add(-w.lineTime(driverBuffer)))
		}
		if !w.now.Before(w.nodes[1-i].asleep) {
			for _, c := range n.out {
				at = earlier(at, c.at)
			}
		}
	}
	return at
}

// arrive feeds what is due and runs the timers.
func (w *world) arrive() {
	for i, n := range w.nodes {
		to := w.nodes[1-i]
		if w.now.Before(to.asleep) {
			continue
		}
		if wire := n.due(w.now); len(wire) > 0 {
			w.feed(to.conn, wire)
		}
		to.conn.Tick(w.now)
	}
}

// due takes the chunks that have arrived by now.
func (n *node) due(now time.Time) (out [][]byte) {
	slices.SortStableFunc(n.out, func(a, b chunk) int { return a.at.Compare(b.at) })
	k := 0
	for ; k < len(n.out) && !n.out[k].at.After(now); k++ {
		out = append(out, n.out[k].bytes)
	}
	n.out = n.out[k:]
	return out
}

// feed gives bytes to an end, cut as this world does.
func (w *world) feed(to *Conn, wire [][]byte) {
	if w.cuts == merged {
		to.Input(w.now, slices.Concat(wire...))
		return
	}
	for _, p := range wire {
		for len(p) > 0 {
			k := 1
			if w.cuts == anywhere {
				k = 1 + w.rng.IntN(len(p))
			}
			to.Input(w.now, p[:k])
			p = p[k:]
		}
	}
}

// read takes events and compares them with the ideal queue.
func (w *world) read(i int) {
	n := w.nodes[i]
	n.readAt = time.Time{}
	for !n.deaf {
		ev, ok := n.conn.Next()
		if !ok {
			return
		}
		w.event(i, ev)
		if n.pause > 0 {
			n.readAt = w.now.Add(n.pause)
			return
		}
	}
}

func (w *world) event(i int, ev Event) {
	n := w.nodes[i]
	switch ev.Kind {
	case Up:
		n.ups++
		if n.lastSID != 0 {
			w.t.Fatalf("end %d: up %08x while %08x is up", i, ev.SID, n.lastSID)
		}
		n.lastSID = ev.SID
	case Down:
		n.downs = append(n.downs, ev.Reason)
		if ev.SID != n.lastSID {
			w.t.Fatalf("end %d: down %08x while %08x is up", i, ev.SID, n.lastSID)
		}
		n.lastSID = 0
	case Message:
		w.compare(i, ev)
	}
}

func (w *world) compare(i int, ev Event) {
	n := w.nodes[i]
	if ev.SID != n.lastSID {
		w.t.Fatalf("end %d: message of session %08x while %08x is up", i, ev.SID, n.lastSID)
	}
	k := key(ev.SID, 1-i, ev.Channel)
	at := len(n.got[k])
	sent := w.nodes[1-i].sent[k]
	if at >= len(sent) || sent[at] != string(ev.Body) {
		w.t.Fatalf("end %d: message %d of %s was never sent or is out of order (%d sent)", i, at, k, len(sent))
	}
	n.got[k] = append(n.got[k], string(ev.Body))
}

// held is what an end keeps, in bytes of memory.
type held struct{ received, sent int }

// heldMost are the bounds of the specification.
var heldMost = held{received: 1 << 20, sent: 5 << 18}

// holds measures an end: buffers by their capacity, whoever may have filled them.
func (c *Conn) holds() (h held) {
	const event, header = 96, 24 // of an Event and a slice, about
	h.received = frame.MaxEncoded + c.q.bytes + cap(c.q.items)*event
	for i := range c.rx.partial {
		h.received += cap(c.rx.partial[i])
	}
	for i := range c.rx.early {
		h.received += cap(c.rx.early[i].payload)
	}
	bodies := map[*byte]int{} // by their last byte, as fragments share them
	note := func(b []byte) {
		if cap(b) > 0 {
			end := &b[:cap(b)][cap(b)-1]
			bodies[end] = max(bodies[end], cap(b))
		}
	}
	for _, q := range c.tx.queue {
		for i := range q {
			note(q[i].body)
		}
	}
	for i := range c.tx.flights {
		note(c.tx.flights[i].payload)
	}
	for _, n := range bodies {
		h.sent += n + header
	}
	return h
}

// measure checks that an end holds no more than it may.
func (w *world) measure(n *node) {
	c := n.conn
	h := c.holds()
	w.most = held{max(w.most.received, h.received), max(w.most.sent, h.sent)}
	switch {
	case h.received > heldMost.received || h.sent > heldMost.sent:
		w.t.Fatalf("holds %+v, at most %+v", h, heldMost)
	case len(c.q.items) > 2*recvQueueItems+2:
		w.t.Fatalf("%d events wait", len(c.q.items))
	case len(c.tx.flights) > Window:
		w.t.Fatalf("%d frames in flight", len(c.tx.flights))
	case c.tx.queued[0] > sendQueueBytes || c.tx.queued[1] > sendQueueBytes:
		w.t.Fatalf("%v bytes queued", c.tx.queued)
	}
}

// rest lets the world go on until nothing waits to be sent, and long enough to
// outlast every late copy and pause.
func (w *world) rest() {
	w.t.Helper()
	for range 60 { // four of the longest messages at 9600 baud take 11 minutes
		w.run(time.Minute)
		if w.nodes[0].conn.tx.empty() && w.nodes[1].conn.tx.empty() {
			return
		}
	}
	w.t.Fatalf("the good line does not empty the queues")
}

func (t *sender) empty() bool {
	return len(t.flights) == 0 && len(t.queue[0]) == 0 && len(t.queue[1]) == 0
}

// complete checks that a good line has delivered everything of the present
// session.
func (w *world) complete() {
	w.t.Helper()
	a, b := w.nodes[0].conn, w.nodes[1].conn
	if !a.Up() || !b.Up() || a.sid != b.sid {
		w.t.Fatalf("no common session on a good line: %v %08x, %v %08x", a.Up(), a.sid, b.Up(), b.sid)
	}
	for i, n := range w.nodes {
		for ch := range Channels {
			k := key(a.sid, i, ch)
			if got, sent := len(w.nodes[1-i].got[k]), len(n.sent[k]); got != sent {
				w.t.Fatalf("%s: %d of %d messages arrived", k, got, sent)
			}
		}
	}
}
