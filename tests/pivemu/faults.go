package pivemu

import (
	"sync"

	"touchmark/tests/pivemu/iso7816"
)

// Fault makes commands fail on purpose.
type Fault struct {
	SW      iso7816.SW // the answer
	Count   int        // how many commands
	INS     byte       // only this instruction; 0 is any
	Applied bool       // the command takes effect, only its answer is lost
}

// faults is the list of faults not used up yet, in the order they were given.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// Inject adds a fault; it is used up after f.Count commands.
func (c *Card) Inject(f Fault) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.list = append(c.faults.list, f)
}

// take is the status word to answer with before, or after, executing ins; both
// zero when no fault applies.
func (f *faults) take(ins byte) (before, after iso7816.SW) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		e := &f.list[i]
		if e.INS != 0 && e.INS != ins {
			continue
		}
		sw, applied := e.SW, e.Applied
		if e.Count--; e.Count <= 0 {
			f.list = append(f.list[:i], f.list[i+1:]...)
		}
		if applied {
			return 0, sw
		}
		return sw, 0
	}
	return 0, 0
}
