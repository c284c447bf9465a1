package boot

import "time"

// Stick is what is plugged in beside the token.
type Stick struct {
	Present  bool
	Ceremony *Ceremony // nil if it asks for nothing
	Err      error     // of a ceremony file that makes no sense
}

// Act is something that the first process is to do.
type Act any

// The acts. One child runs at a time: the core, or a ceremony.
type (
	// LockTPM replaces the platform's authorization by a random one that nobody
	// knows (docs/spec/tpm.md §8.2).
	LockTPM struct{}
	// StartCore starts the core; Ended is told when it has ended.
	StartCore struct{}
	// StopCore has it end in good order.
	StopCore struct{}
	// Hold holds a ceremony; Ended is told when it has ended.
	Hold struct{ Ceremony *Ceremony }
	// Say writes to the operator's terminal, which nobody else uses now.
	Say struct{ Text string }
	// End ends the board's run: Reset or Finish.
	End struct{ Next Next }
)

// Conductor decides what runs. It starts with Begin; each other method tells it
// of something that happened, and answers what is to be done.
//
// A board that is not enrolled has no core to run, and leaves the platform's
// authorization empty until a ceremony has made HEAD, which needs it; any other
// replaces it before anything else.
type Conductor struct {
	phase    phase
	enrolled bool
	locked   bool
	obeyed   bool      // the stick that is plugged in was
	wanted   *Ceremony // once the core has ended
	until    time.Time // of a pause
	respawn  Respawn
}

type phase int

const (
	waiting  phase = iota // for a ceremony
	running               // the core
	stopping              // the core, for a ceremony
	pausing               // before the core is started again
	holding               // a ceremony
	removing              // the stick, before the core is started
)

// What is said on the operator's terminal.
const (
	saysNotEnrolled = "This board is not enrolled. Plug in the token, and a stick with a " + CeremonyFile + " file (docs/image/ceremony-day.md)."
	saysTakeOut     = "Take the stick out: the board then goes on."
)

// Begin is the start of the board.
func (c *Conductor) Begin(enrolled bool) []Act {
	c.enrolled = enrolled
	return c.resume()
}

// resume goes on with what a board does when nothing else is wanted of it.
func (c *Conductor) resume() []Act {
	if !c.enrolled {
		c.phase = waiting
		return []Act{Say{saysNotEnrolled}}
	}
	c.phase = running
	if c.locked {
		return []Act{StartCore{}}
	}
	c.locked = true
	return []Act{LockTPM{}, StartCore{}}
}

// Plugged tells what stick is there now. What a stick asks for is done once, until
// it was taken out.
func (c *Conductor) Plugged(s Stick) []Act {
	switch {
	case !s.Present:
		c.obeyed = false
		if c.phase == removing {
			return c.resume()
		}
	case c.obeyed, s.Ceremony == nil && s.Err == nil:
	case c.phase == running && s.Ceremony != nil:
		c.obeyed, c.wanted, c.phase = true, s.Ceremony, stopping
		return []Act{StopCore{}}
	case c.phase == waiting || c.phase == pausing:
		c.obeyed = true
		if s.Err != nil {
			return []Act{Say{s.Err.Error()}}
		}
		c.phase = holding
		return []Act{Hold{s.Ceremony}}
	}
	return nil
}

// Ended tells that the child has ended, how, and whether the board is enrolled now.
func (c *Conductor) Ended(now time.Time, code int, ran time.Duration, enrolled bool) []Act {
	c.enrolled = enrolled
	switch c.phase {
	case holding:
		c.phase = removing
		return []Act{Say{saysTakeOut}}
	case stopping:
		c.phase = holding
		return []Act{Hold{c.wanted}}
	}
	next, pause := c.respawn.Ended(code, ran)
	if next != Again {
		return []Act{End{next}}
	}
	c.phase, c.until = pausing, now.Add(pause)
	return nil
}

// Tick tells the time.
func (c *Conductor) Tick(now time.Time) []Act {
	if c.phase == pausing && !now.Before(c.until) {
		return c.resume()
	}
	return nil
}
