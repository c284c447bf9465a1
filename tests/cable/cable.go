// Package cable is a virtual null-modem cable for tests, demo and benchmarks:
// two pseudo-terminals joined by a relay that records, slows down, damages or
// cuts what passes.
//
// Each end is a symbolic link to a tty, so that it keeps its name when the
// device vanishes and comes back ([Cable.Unplug], [Cable.Plug]). The relay
// sleeps in read and write; nothing polls.
//
// # The emulated line
//
// With [Cable.Throttle] each direction is a line of its own, 8N1: a byte takes
// ten bit times, arrives when its last bit is through, and none begins before
// the one ahead of it has ended. Bytes move in pieces of at most 5 ms. A line
// that found nothing to send stood idle: that time is lost and never made up
// for. What waits for the line waits in the pty, as in a driver's buffer (up to
// 64 KiB where a UART's has 4). [Cable.Delay] is added behind the line.
// [Noise] draws for each of the ten bits of a byte.
package cable

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Direction of bytes on the cable.
type Direction int

// The directions: up is from host to board.
const (
	Up Direction = iota
	Down
)

// String names the direction.
func (d Direction) String() string {
	if d == Up {
		return "host to board"
	}
	return "board to host"
}

// maxRecorded bounds the record of each direction; older bytes are dropped.
const maxRecorded = 64 << 20

// bitsPerByte at 8N1: start bit, eight data bits, stop bit.
const bitsPerByte = 10

// maxDelayed bounds the pieces behind a throttled line: five seconds of them.
const maxDelayed = 1000

// maxIntervals bounds what Busy adds up: five minutes of pieces.
const maxIntervals = 1 << 16

// Fault decides what becomes of bytes on the way: it returns what arrives,
// possibly p itself changed. It also sees what a cut cable then loses. It runs
// under the cable's lock.
type Fault func(p []byte) []byte

// Cable joins a host end and a board end.
type Cable struct {
	dir  string
	ends [2]*end // by the direction they send in: host, board

	relays sync.WaitGroup

	mu       sync.Mutex
	cut      bool
	baud     int
	fault    [2]Fault
	recorded [2][]byte
	count    [2]uint64
	delay    time.Duration
	free     [2]time.Time // when the throttled line has sent all so far
	busy     []interval   // of the throttled lines
}

// interval is a time in which a line sent.
type interval struct{ from, to time.Time }

// New makes a cable whose ends are dir/host and dir/board.
func New(dir string) (*Cable, error) {
	c := &Cable{dir: dir}
	for d, name := range []string{"host", "board"} {
		c.ends[d] = &end{cable: c, sends: Direction(d), link: filepath.Join(dir, name)}
	}
	for _, e := range c.ends {
		if err := e.plug(); err != nil {
			c.Close()
			return nil, fmt.Errorf("cable: %w", err)
		}
	}
	return c, nil
}

// HostPath is the tty for the repository host.
func (c *Cable) HostPath() string { return c.ends[Up].link }

// BoardPath is the tty for the board.
func (c *Cable) BoardPath() string { return c.ends[Down].link }

// Recorded returns a copy of what arrived in a direction since the last Forget.
func (c *Cable) Recorded(d Direction) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.recorded[d]...)
}

// Count returns how many bytes arrived in a direction since the last Forget.
func (c *Cable) Count(d Direction) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[d]
}

// Forget empties the records and counts.
func (c *Cable) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recorded, c.count, c.busy = [2][]byte{}, [2]uint64{}, nil
}

// Busy returns how long a throttled cable has been sending since the last
// Forget: where both directions sent at once that time counts once.
func (c *Cable) Busy() (total time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.busy, func(a, b interval) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, i := range c.busy {
		if i.from.Before(until) {
			i.from = until
		}
		if i.to.After(i.from) {
			total += i.to.Sub(i.from)
			until = i.to
		}
	}
	return total
}

// Throttle limits each direction to a baud rate at 8N1; 0 is as fast as the
// machine goes.
func (c *Cable) Throttle(baud int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.baud, c.free = baud, [2]time.Time{time.Now(), time.Now()}
}

// Delay makes everything arrive later by d, as an adapter's latency timer does.
// Set it while nothing is on the way.
func (c *Cable) Delay(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// Cut lets nothing through until Restore. Both devices stay.
func (c *Cable) Cut() { c.setCut(true) }

// Restore mends a cut cable. What was sent meanwhile is lost.
func (c *Cable) Restore() { c.setCut(false) }

func (c *Cable) setCut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

// SetFault installs what damages a direction; nil repairs it.
func (c *Cable) SetFault(d Direction, f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault[d] = f
}

// Noise is a Fault that turns over each bit on the line with probability
// bitErrors and drops bytes at a byte loss rate, reproducibly from seed. A data
// bit that is hit changes the byte; a hit start or stop bit loses it.
func Noise(seed uint64, bitErrors, byteLoss float64) Fault {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(p []byte) []byte {
		out := p[:0]
		for _, b := range p {
			if byteLoss > 0 && r.Float64() < byteLoss {
				continue
			}
			if bitErrors > 0 && r.Float64() < bitsPerByte*bitErrors {
				hit := r.UintN(bitsPerByte)
				if hit >= 8 {
					continue
				}
				b ^= 1 << hit
			}
			out = append(out, b)
		}
		return out
	}
}

// Inject makes bytes that nobody sent arrive in a direction.
func (c *Cable) Inject(d Direction, p []byte) error {
	c.mu.Lock()
	c.record(d, p)
	c.mu.Unlock()
	return c.ends[1-d].deliver(p)
}

// Unplug makes the device of the end that sends in direction d vanish, as a
// pulled USB adapter does: its user reads an error and the path is gone.
func (c *Cable) Unplug(d Direction) { c.ends[d].unplug() }

// Plug brings it back under the same path.
func (c *Cable) Plug(d Direction) error { return c.ends[d].plug() }

// Close removes both ends and waits for the relay.
func (c *Cable) Close() {
	for _, e := range c.ends {
		e.unplug()
	}
	c.relays.Wait()
}

// pass takes bytes on their way and returns what arrives and when. waited says
// that the line stood idle until the bytes came.
func (c *Cable) pass(d Direction, p []byte, waited bool) ([]byte, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.transmit(d, len(p), waited)
	if f := c.fault[d]; f != nil {
		p = f(p)
	}
	if c.cut {
		return nil, at
	}
	c.record(d, p)
	return p, at
}

// transmit puts n bytes on the line and returns when the last of them arrives.
// The caller holds c.mu.
func (c *Cable) transmit(d Direction, n int, waited bool) time.Time {
	now := time.Now()
	if c.baud == 0 {
		return now
	}
	from := c.free[d]
	if waited && from.Before(now) {
		from = now
	}
	bits := time.Duration(n) * bitsPerByte * time.Second
	to := from.Add((bits + time.Duration(c.baud) - 1) / time.Duration(c.baud)) // rounded up: never faster than the line
	c.free[d] = to
	if len(c.busy) < maxIntervals {
		c.busy = append(c.busy, interval{from, to})
	}
	return to
}

// latency is the present Delay.
func (c *Cable) latency() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.delay
}

// record keeps what arrives. The caller holds c.mu.
func (c *Cable) record(d Direction, p []byte) {
	c.count[d] += uint64(len(p))
	r := append(c.recorded[d], p...)
	if len(r) > maxRecorded {
		r = append(r[:0], r[len(r)-maxRecorded/2:]...)
	}
	c.recorded[d] = r
}

// chunk is how much one read of the relay may take: about 5 ms of a throttled
// line, so that its timing is that of a line and not of a packet.
func (c *Cable) chunk() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.baud == 0 {
		return 16 << 10
	}
	return max(1, c.baud/bitsPerByte/200)
}
