package boot

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens in whatever order: one child at a time, the core never before the
// TPM is locked, the TPM never locked before the board is enrolled, and no ceremony but that
// of a stick.
func TestConductorHoldsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Conductor
		var child, locked, over bool
		enrolled := rapid.Bool().Draw(t, "enrolled")
		obey := func(acts []Act) {
			for _, a := range acts {
				switch a := a.(type) {
				case LockTPM:
					if locked || !enrolled {
						t.Fatalf("locked %v, enrolled %v: locked again", locked, enrolled)
					}
					locked = true
				case StartCore:
					if child || !locked {
						t.Fatalf("child %v, locked %v: a core", child, locked)
					}
					child = true
				case Hold:
					if child || a.Ceremony == nil {
						t.Fatalf("child %v: a ceremony %v", child, a.Ceremony)
					}
					child = true
				case StopCore:
					if !child {
						t.Fatal("no core to stop")
					}
				case Say:
					if child {
						t.Fatal("it writes over a child's terminal")
					}
				case End:
					over = true
				}
			}
		}
		obey(c.Begin(enrolled))
		now := start
		for n := rapid.IntRange(0, 40).Draw(t, "n"); n > 0 && !over; n-- {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				obey(c.Plugged(rapid.SampledFrom([]Stick{{}, {Present: true}, {Present: true, Ceremony: enroll}, {Present: true, Err: errNothing}}).Draw(t, "stick")))
			case 1:
				now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "s")) * time.Second)
				obey(c.Tick(now))
			default:
				if !child {
					continue
				}
				child = false
				enrolled = enrolled || rapid.Bool().Draw(t, "enrolled now")
				obey(c.Ended(now, rapid.IntRange(0, 2).Draw(t, "code"), time.Duration(rapid.IntRange(0, 300).Draw(t, "ran"))*time.Second, enrolled))
			}
		}
	})
}
