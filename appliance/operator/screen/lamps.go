package screen

import (
	"slices"

	"touchmark/appliance/operator"
)

// Lamps is what the two lamps of a board without a screen, or beside one, show in
// a second: eight steps each, on for '#'. They are told apart by their places and
// by their rhythms, not by their colours.
type Lamps struct{ Green, Red string }

// LampSteps is how many steps a rhythm has.
const LampSteps = 8

// The rhythms.
const (
	dark   = "--------"
	flash  = "#-------" // I live
	twice  = "#-#-----" // I want something
	slow   = "####----" // decide
	fast   = "#-#-#-#-" // now
	steady = "########"
)

// LampsOf is what the lamps show of a view, most urgent first.
func LampsOf(v *operator.View) Lamps {
	switch {
	case v.Ask == operator.AskNoTouch:
		return Lamps{dark, steady}
	case v.Ask == operator.AskTouch:
		return Lamps{fast, dark}
	case v.Alarm != "":
		return Lamps{dark, fast}
	case v.Ask == operator.AskArm && v.Order == nil:
		return Lamps{slow, dark}
	case v.Halted != "" || v.Event == "stopped":
		return Lamps{dark, slow}
	case v.Ask != operator.AskNothing:
		return Lamps{twice, twice}
	case openable(v, Main) && v.State == "ready" && v.Token == "ready" && slices.ContainsFunc(v.Rounds, waits):
		return Lamps{twice, dark}
	case v.Job != nil && v.Job.Over() || v.Job == nil && v.Order == nil && v.State == "ready" && v.Token == "ready":
		return Lamps{flash, dark}
	case v.Job != nil || v.Order != nil:
		return Lamps{steady, dark}
	}
	return Lamps{dark, twice}
}
