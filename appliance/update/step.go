package update

import (
	"errors"

	"touchmark/tpm/ledger/order"
)

// Event is what a start means for an update.
type Event string

// The events.
const (
	Nothing  Event = "nothing"   // no update is under way
	Waiting  Event = "waiting"   // the machine has not been restarted since the switch
	OnTrial  Event = "on-trial"  // this start is the trial
	FellBack Event = "fell-back" // the trial is over and this is the old image
)

// AtStart is the state once an image with this serial runs, and what that means.
// It is the first thing that a start does. A trial's first write turns autoboot.txt
// back to the old slot: whatever happens to the new image from then on, the next
// start is of the old one.
func (s State) AtStart(serial uint64, start Start) (State, Event) {
	tried := s.Serial == serial
	switch {
	case s.Phase == Switched && tried:
		s.Boot, s.Phase, s.Start = s.Boot.Other(), Trying, start
		return s, OnTrial
	case s.Phase == Switched && s.Start == start:
		return s, Waiting
	case s.Phase == Switched: // the loader could not start it
		s.Boot = s.Boot.Other()
		return s.settle(Failed, start), FellBack
	case s.Phase == Trying && tried:
		return s, OnTrial
	case s.Phase == Trying:
		return s.settle(Failed, start), FellBack
	case s.Outcome == Failed && s.Start == start: // who came first in this start has written it down
		return s, FellBack
	}
	return s, Nothing
}

func (s State) settle(o Outcome, start Start) State {
	s.Phase, s.Outcome, s.Start = Settled, o, start
	return s
}

// SwitchTo has the next start try the image that an order names. It stands in the
// slot that is not started.
func (s State) SwitchTo(hash [32]byte, im *order.Image, start Start) (State, error) {
	if s.Phase != Settled {
		return s, errors.New("an update is under way")
	}
	return State{Boot: s.Boot.Other(), Phase: Switched, Outcome: None, Order: hash, Serial: im.Serial, Start: start}, nil
}

// Keep ends a trial: the image that runs is started from now on.
func (s State) Keep(start Start) (State, error) {
	if s.Phase != Trying {
		return s, errors.New("no image is on trial")
	}
	s.Boot = s.Boot.Other()
	return s.settle(Kept, start), nil
}

// Owed tells whether an image order that is in force was not obeyed yet: the power
// went between the log and the card.
func (s State) Owed(hash [32]byte, im *order.Image, serial uint64) bool {
	return im != nil && s.Phase == Settled && s.Order != hash && im.Serial > serial
}
