// Package cable is a virtual null-modem cable for tests, demo and benchmarks:
// two pseudo-terminals joined by a relay that records, slows down, damages or
// cuts what passes.
//
// Each end is a symbolic link to a tty, so that it keeps its name when the
// device vanishes and comes back ([Cable.Unplug], [Cable.Plug]). The relay
// sleeps in read and write; nothing polls.
package cable

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
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

// slack is how late the relay may wake without the throttled line losing time.
const slack = 20 * time.Millisecond

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
	free     [2]time.Time // when the throttled line has sent all so far
}

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
	c.recorded, c.count = [2][]byte{}, [2]uint64{}
}

// Throttle limits each direction to a baud rate at 8N1; 0 is as fast as the
// machine goes.
func (c *Cable) Throttle(baud int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.baud = baud
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

// Noise is a Fault that flips bits at a bit error rate and drops bytes at a
// byte loss rate, reproducibly from seed.
func Noise(seed uint64, bitErrors, byteLoss float64) Fault {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(p []byte) []byte {
		out := p[:0]
		for _, b := range p {
			if byteLoss > 0 && r.Float64() < byteLoss {
				continue
			}
			if bitErrors > 0 && r.Float64() < 8*bitErrors {
				b ^= 1 << r.UintN(8)
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

// pass takes bytes on their way and returns what arrives after which pause.
func (c *Cable) pass(d Direction, p []byte) ([]byte, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var wait time.Duration
	if c.baud > 0 {
		now := time.Now()
		if c.free[d].Before(now.Add(-slack)) {
			c.free[d] = now
		}
		c.free[d] = c.free[d].Add(time.Duration(len(p)) * 10 * time.Second / time.Duration(c.baud))
		wait = max(0, c.free[d].Sub(now))
	}
	if f := c.fault[d]; f != nil {
		p = f(p)
	}
	if c.cut {
		return nil, wait
	}
	c.record(d, p)
	return p, wait
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
	return max(1, c.baud/10/200)
}
