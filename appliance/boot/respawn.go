package boot

import "time"

// Next is what follows when the core has ended.
type Next int

// What may follow.
const (
	Again  Next = iota // it is started again
	Reset              // the board starts anew
	Finish             // the board is switched off
)

// Respawn remembers how often the core ended soon after its start.
type Respawn struct{ quick int }

// Ended says what follows an end of the core: that of one that the operator told
// to stop (exit code 0) is the board's; any other's is a pause and another core, or, when
// it will not stay up, a start of the whole board.
func (r *Respawn) Ended(code int, ran time.Duration) (Next, time.Duration) {
	if code == 0 {
		return Finish, 0
	}
	if ran >= steady {
		r.quick = 0
	}
	r.quick++
	if r.quick >= patience {
		return Reset, 0
	}
	return Again, min(restFirst<<(r.quick-1), restMost)
}
