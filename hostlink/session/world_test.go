package session

import (
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

// faults are probabilities per write on the line.
type faults struct {
	drop, dup, flip, delay, garbage, shear float64
	cut                                    bool
}

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
	deaf    bool // the layer above does not read
	silent  bool // the writer is blocked
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
	f     faults
	nodes [2]*node // initiator, responder
	seen  func(from int, wire []byte)
}

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
	for i, n := range w.nodes {
		w.write(i)
		w.read(i)
		w.write(i)
		w.bounds(n)
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
		w.transmit(n, slices.Clone(out))
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
	if w.f.cut || w.chance(w.f.drop) {
		return
	}
	if n.damage != nil {
		n.damage(p)
	}
	if w.chance(w.f.flip) {
		p[w.rng.IntN(len(p))] ^= 1 << w.rng.IntN(8)
	}
	if w.chance(w.f.shear) { // bytes lost inside: frames melt together
		a := w.rng.IntN(len(p))
		p = slices.Delete(p, a, min(len(p), a+1+w.rng.IntN(20)))
	}
	if w.chance(w.f.garbage) {
		g := make([]byte, w.rng.IntN(40))
		for i := range g {
			g[i] = byte(w.rng.Uint32())
		}
		p = slices.Insert(p, w.rng.IntN(len(p)+1), g...)
	}
	if w.chance(w.f.dup) {
		n.out = append(n.out, chunk{at.Add(time.Duration(w.rng.IntN(int(3 * time.Second)))), slices.Clone(p)})
	}
	if w.chance(w.f.delay) {
		at = at.Add(time.Duration(w.rng.IntN(int(500 * time.Millisecond))))
	}
	n.out = append(n.out, chunk{at, p})
}

// next is when something happens by itself.
func (w *world) next() (at time.Time) {
	for _, n := range w.nodes {
		for _, c := range n.out {
			at = earlier(at, c.at)
		}
		at = earlier(at, n.conn.Deadline())
		if !n.silent && w.blocked(n) {
			at = earlier(at, n.free.Add(-w.lineTime(driverBuffer)))
		}
	}
	return at
}

// arrive feeds what is due, in pieces cut anywhere, and runs the timers.
func (w *world) arrive() {
	for i, n := range w.nodes {
		other := w.nodes[1-i].conn
		slices.SortStableFunc(n.out, func(a, b chunk) int { return a.at.Compare(b.at) })
		for len(n.out) > 0 && !n.out[0].at.After(w.now) {
			p := n.out[0].bytes
			n.out = n.out[1:]
			for len(p) > 0 {
				k := 1 + w.rng.IntN(len(p))
				other.Input(w.now, p[:k])
				p = p[k:]
			}
		}
		n.conn.Tick(w.now)
	}
}

// read takes events and compares them with the ideal queue.
func (w *world) read(i int) {
	n := w.nodes[i]
	for !n.deaf {
		ev, ok := n.conn.Next()
		if !ok {
			return
		}
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

// bounds checks that an end holds no more than it may.
func (w *world) bounds(n *node) {
	c := n.conn
	held := len(c.rx.partial[0]) + len(c.rx.partial[1])
	for _, f := range c.rx.early {
		held += len(f.payload)
	}
	switch {
	case held > Channels*MaxMessage+Window*frame.MaxPayload:
		w.t.Fatalf("%d bytes held for reassembly", held)
	case c.q.bytes > recvQueueBytes+MaxMessage || len(c.q.items) > 2*recvQueueItems+2:
		w.t.Fatalf("%d events with %d bytes wait", len(c.q.items), c.q.bytes)
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
